#include "check.h"

#include <float.h>
#include <stdarg.h>

const pycnn_kernels *kernels;
int64_t passed, failed;

static char case_text[160];

/* ---- numbers --------------------------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea and Flood 2014). */
static uint64_t random_bits(void)
{
    static uint64_t state = 1998;
    uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

double draw(double low, double high) { return (float)(low + (high - low) * (double)(random_bits() >> 11) * 0x1p-53); }
int64_t draw_int(int64_t low, int64_t high) { return low + (int64_t)(random_bits() % (uint64_t)(high - low + 1)); }

/* ---- memory of a case -------------------------------------------------------------------------------------------- */

enum { FENCE = 64, MOST_BLOCKS = 512 };
static struct { char *memory; size_t size; } blocks[MOST_BLOCKS];
static int block_count;

static const char fence_bytes[FENCE] = "This fence stands at both ends of a block and nobody crosses it.";

/* `size` bytes between two fences. */
void *fenced(size_t size)
{
    char *memory = aligned_alloc(64, (size + 2 * FENCE + 63) / 64 * 64);
    if (!memory || block_count == MOST_BLOCKS) {
        fprintf(stderr, "%s: no memory\n", case_text);
        exit(2);
    }
    blocks[block_count].memory = memory;
    blocks[block_count++].size = size;
    memcpy(memory, fence_bytes, FENCE);
    memset(memory + FENCE, 0xff, size);
    memcpy(memory + FENCE + size, fence_bytes, FENCE);
    return memory + FENCE;
}

static void free_from(int first, const char *what)
{
    int whole = 1;
    while (block_count > first) {
        const char *memory = blocks[--block_count].memory;
        whole &= !memcmp(memory, fence_bytes, FENCE);
        whole &= !memcmp(memory + FENCE + blocks[block_count].size, fence_bytes, FENCE);
        free(blocks[block_count].memory);
    }
    check(whole, what);
}

void begin_case(const char *text, ...)
{
    va_list values;
    va_start(values, text);
    vsnprintf(case_text, sizeof case_text, text, values);
    va_end(values);
}

void end_case(void) { free_from(0, "a kernel writes beyond its buffers"); }

double *zeros(int64_t n)
{
    double *a = fenced((size_t)n * sizeof *a);
    for (int64_t i = 0; i < n; i++) a[i] = 0;
    return a;
}

double *numbers(int64_t n, double low, double high)
{
    double *a = zeros(n);
    for (int64_t i = 0; i < n; i++) a[i] = draw(low, high);
    return a;
}

double *magnitudes(const double *a, int64_t n)
{
    double *m = zeros(n);
    for (int64_t i = 0; i < n; i++) m[i] = fabs(a[i]);
    return m;
}

/* ---- buffers ----------------------------------------------------------------------------------------------------- */

static double get(const void *b, int64_t i)
{
    return kernels->real_size == 4 ? (double)((const float *)b)[i] : ((const double *)b)[i];
}

static void put(void *b, int64_t i, double value)
{
    if (kernels->real_size == 4) ((float *)b)[i] = (float)value;
    else ((double *)b)[i] = value;
}

void *buffer(int64_t n) { return fenced((size_t)(n + kernels->lanes) * kernels->real_size); }

void *buffer_of(const double *a, int64_t n)
{
    void *b = buffer(n);
    for (int64_t i = 0; i < n; i++) put(b, i, a[i]);
    return b;
}

double *read_buffer(const void *b, int64_t n)
{
    double *a = zeros(n);
    for (int64_t i = 0; i < n; i++) a[i] = get(b, i);
    return a;
}

int64_t read_index(const void *b, int64_t i)
{
    return kernels->real_size == 4 ? ((const int32_t *)b)[i] : ((const int64_t *)b)[i];
}

static int64_t round_up(int64_t n) { return (n + kernels->lanes - 1) / kernels->lanes * kernels->lanes; }

static int64_t filled(int64_t count, int is_lanes) { return is_lanes ? round_up(count) : count; }

int64_t tensor_size(pycnn_layout layout, int64_t n, int64_t c, int64_t s)
{
    return filled(n, layout == PYCNN_SAMPLES) * filled(c, layout == PYCNN_CHANNELS) * s;
}

int64_t tensor_at(pycnn_layout layout, int64_t c_count, int64_t s_count, int64_t n, int64_t c, int64_t s)
{
    const int64_t lanes = kernels->lanes;
    switch (layout) {
    case PYCNN_SAMPLES: return ((n / lanes * c_count + c) * s_count + s) * lanes + n % lanes;
    case PYCNN_CHANNELS: return ((n * (round_up(c_count) / lanes) + c / lanes) * s_count + s) * lanes + c % lanes;
    default: return (n * c_count + c) * s_count + s;
    }
}

#define FOR_ELEMENTS_AND_LANES                                                                                         \
    for (int64_t in = 0; in < filled(n, layout == PYCNN_SAMPLES); in++)                                                \
        for (int64_t ic = 0; ic < filled(c, layout == PYCNN_CHANNELS); ic++)                                           \
            for (int64_t is = 0; is < s; is++)

void *tensor_of(const double *a, pycnn_layout layout, int64_t n, int64_t c, int64_t s, int gradient)
{
    void *b = buffer(tensor_size(layout, n, c, s));
    FOR_ELEMENTS_AND_LANES {
        const double value = in < n && ic < c ? a[(in * c + ic) * s + is] : gradient ? 0 : draw(-2, 2);
        put(b, tensor_at(layout, c, s, in, ic, is), value);
    }
    return b;
}

double *read_tensor(const void *b, pycnn_layout layout, int64_t n, int64_t c, int64_t s, int gradient)
{
    double *a = zeros(n * c * s);
    int beyond = 1;
    FOR_ELEMENTS_AND_LANES {
        const double value = get(b, tensor_at(layout, c, s, in, ic, is));
        if (in < n && ic < c) a[(in * c + ic) * s + is] = value;
        else beyond &= gradient ? value == 0 : isfinite(value);
    }
    check(beyond, gradient ? "lanes beyond a gradient are zero" : "lanes beyond a tensor are finite");
    return a;
}

void *planes_of(const double *a, int64_t planes, int64_t positions)
{
    return tensor_of(a, PYCNN_CHANNELS, planes, kernels->lanes, positions, 0);
}

double *read_planes(const void *b, int64_t planes, int64_t positions)
{
    return read_tensor(b, PYCNN_CHANNELS, planes, kernels->lanes, positions, 0);
}

/* ---- running and comparing --------------------------------------------------------------------------------------- */

void run(const char *kernel, int status, pycnn_step *step)
{
    enum { THREADS = 3 };
    if (status != PYCNN_OK) {
        fprintf(stderr, "%s: %s returns %d\n", case_text, kernel, status);
        exit(2);
    }
    const int first = block_count;
    const size_t each = (step->scratch + 63) / 64 * 64;
    void *scratch = fenced(each * THREADS);
    switch (draw_int(0, 2)) {
    case 0: pycnn_run(step, 1, 1, scratch, each); break;
    case 1: pycnn_run(step, 1, THREADS, scratch, each); break;
    default: for (int64_t task = step->tasks - 1; task >= 0; task--) step->run(step->args, task, task + 1, scratch);
    }
    pycnn_step_free(step);
    free_from(first, "a kernel writes beyond its scratch");
}

double epsilon(void) { return kernels->real_size == 4 ? FLT_EPSILON : DBL_EPSILON; }

double *rounding(double *magnitude, int64_t n, double terms)
{
    for (int64_t i = 0; i < n; i++) magnitude[i] *= (4 * sqrt(terms) + 2) * epsilon();
    return magnitude;
}

static int report(int holds)
{
    if (holds) passed++;
    else if (++failed > 40) return 0;
    return !holds;
}

void check(int holds, const char *what)
{
    if (report(holds))
        printf("%s %s, %s: not so: %s\n", kernels->isa, kernels->real_size == 4 ? "float" : "double", case_text, what);
}

void compare(const char *what, const double *got, const double *want, const double *bound, int64_t n)
{
    int64_t i = 0;
    while (i < n && (fabs(got[i] - want[i]) <= bound[i] || (isnan(got[i]) && isnan(want[i])))) i++;
    if (report(i == n))
        printf("%s %s, %s: %s[%lld] is %.17g, not %.17g (within %.1e)\n", kernels->isa,
               kernels->real_size == 4 ? "float" : "double", case_text, what, (long long)i, got[i], want[i], bound[i]);
}
