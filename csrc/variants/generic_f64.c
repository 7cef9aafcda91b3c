#define PYCNN_DOUBLE
#define PYCNN_VARIANT pycnn_kernels_generic_f64
#include "../isa/generic.h"
#include "../kernels/kernels.h"
