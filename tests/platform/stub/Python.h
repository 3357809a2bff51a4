/* The little of Python.h that _users.h needs, so that it is tested without Python. */
#include <stddef.h>
typedef ptrdiff_t Py_ssize_t;
