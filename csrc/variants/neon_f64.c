#if defined(__aarch64__)
#define PYCNN_DOUBLE
#define PYCNN_VARIANT pycnn_kernels_neon_f64
#include "../isa/neon.h"
#include "../kernels/kernels.h"
#endif
