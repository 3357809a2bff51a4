#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

namespace nb = nanobind;

using Table = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

static nb::ndarray<nb::numpy, double> column_means(const Table &table)
{
    size_t columns = table.shape(1);
    double *mean = new double[columns]();
    nb::capsule owner(mean, [](void *memory) noexcept { delete[] static_cast<double *>(memory); });
    {
        nb::gil_scoped_release released;
        auto rows = table.view();
        for (size_t row = 0; row < rows.shape(0); row++)
            for (size_t column = 0; column < columns; column++)
                mean[column] += rows(row, column) / static_cast<double>(rows.shape(0));
    }
    return nb::ndarray<nb::numpy, double>(mean, {columns}, owner);
}

NB_MODULE(column_means_nanobind, module) { module.def("column_means", &column_means, nb::arg("table").noconvert()); }
