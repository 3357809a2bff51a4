# cython: boundscheck=False, wraparound=False, cdivision=True
import numpy as np


def column_means(const float[:, ::1] table not None):
    cdef double[::1] sums = np.zeros(table.shape[1])
    cdef Py_ssize_t row, column
    with nogil:  # other threads run while pages are read
        for row in range(table.shape[0]):
            for column in range(table.shape[1]):
                sums[column] += table[row, column]
    return np.asarray(sums) / table.shape[0]
