/* wine_math.c - complex functions that NumPy imports from the Windows C library and Wine lacks.
 *
 * With the types of that library: a complex number is a struct of two, and a long double is a double. */
#include <complex.h>

typedef struct { float real, imag; } float_pair;
typedef struct { double real, imag; } double_pair;

#define COMPLEX(z) __builtin_complex((z).real, (z).imag)
#define PAIR(type, w) ((type##_pair){__real__ (w), __imag__ (w)})

#define PART(name, suffix, type, ours) \
    type wine_##name##suffix(type##_pair z) { return ours(COMPLEX(z)); }
#define FUNCTION(name, suffix, type, ours)       \
    type##_pair wine_##name##suffix(type##_pair z) \
    {                                            \
        type _Complex w = ours(COMPLEX(z));      \
        return PAIR(type, w);                    \
    }
#define FUNCTION_OF_TWO(name, suffix, type, ours)               \
    type##_pair wine_##name##suffix(type##_pair x, type##_pair y) \
    {                                                           \
        type _Complex w = ours(COMPLEX(x), COMPLEX(y));         \
        return PAIR(type, w);                                   \
    }
#define FOR_TYPES(define, name) define(name, , double, name) define(name, l, double, name) define(name, f, float, name##f)

FOR_TYPES(PART, cabs)
FOR_TYPES(PART, carg)
FOR_TYPES(PART, creal)
FOR_TYPES(PART, cimag)
FOR_TYPES(FUNCTION, ccos)
FOR_TYPES(FUNCTION, ccosh)
FOR_TYPES(FUNCTION, cexp)
FOR_TYPES(FUNCTION, clog)
FOR_TYPES(FUNCTION, csin)
FOR_TYPES(FUNCTION, csinh)
FOR_TYPES(FUNCTION, csqrt)
FOR_TYPES(FUNCTION, ctan)
FOR_TYPES(FUNCTION, ctanh)
FOR_TYPES(FUNCTION_OF_TWO, cpow)
