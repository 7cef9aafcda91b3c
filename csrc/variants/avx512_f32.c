#if defined(__x86_64__)
#define PYCNN_VARIANT pycnn_kernels_avx512_f32
#include "../isa/avx512.h"
#include "../kernels/kernels.h"
#endif
