#if defined(__x86_64__)
#define PYCNN_DOUBLE
#define PYCNN_VARIANT pycnn_kernels_avx2_f64
#include "../isa/avx2.h"
#include "../kernels/kernels.h"
#endif
