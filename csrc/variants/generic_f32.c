#define PYCNN_VARIANT pycnn_kernels_generic_f32
#include "../isa/generic.h"
#include "../kernels/kernels.h"
