#include <pybind11/numpy.h>

namespace py = pybind11;

// without py::array::forcecast another dtype or order is an error and no copy
using Table = py::array_t<float, py::array::c_style>;

static py::array_t<double> column_means(const Table &table)
{
    auto rows = table.unchecked<2>();
    py::array_t<double> means(rows.shape(1));
    double *mean = means.mutable_data();
    {
        py::gil_scoped_release released; // other threads run while pages are read
        for (py::ssize_t column = 0; column < rows.shape(1); column++) mean[column] = 0;
        for (py::ssize_t row = 0; row < rows.shape(0); row++)
            for (py::ssize_t column = 0; column < rows.shape(1); column++)
                mean[column] += rows(row, column) / static_cast<double>(rows.shape(0));
    }
    return means;
}

PYBIND11_MODULE(column_means_cpp, module) { module.def("column_means", &column_means, py::arg("table").noconvert()); }
