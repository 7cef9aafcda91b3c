/* Capsules, vectors whose length says how sure they are (Sabour, Frosst, Hinton 2017, arXiv:1710.09829): squashing,
 * lengths, and masks.
 *
 *     squash(s) = |s|^2 / (1 + |s|^2) s / |s|                                                     (eq. 1)
 *     ds = f dv + g (s . dv) s,    f = |s| / (1 + |s|^2),    g = f'(|s|) / |s| = (1 - |s|^2) / (|s| (1 + |s|^2)^2)
 *     length(v) = |v|,    dv = dlength v / |v|
 *
 * A capsule's coordinates are vectors one behind the other, whatever the lanes are, so sums over them stay in a lane.
 * Where |s| is too small to divide by, the smallest normal |s|^2 stands for it: zero then has the gradient zero. Bound by
 * memory. */

typedef struct {
    int64_t groups, size, positions, groups_per_task;
    const real *x, *dy;
    real *y;
} capsules_args;

static int prepare_capsules(pycnn_step *step, pycnn_run_tasks *run, capsules_args a)
{
    a.groups_per_task = max64(1, ELEMENTS_PER_TASK / max64(1, a.size * a.positions * V));
    return PREPARE(step, run, ceil_div(a.groups, a.groups_per_task), 0, a);
}

/* ---- one capsule: `size` vectors, `stride` reals apart ----------------------------------------------------------- */

/* The sum over the coordinates of a times b. */
INLINE vec capsule_dot(int64_t size, const real *a, int64_t a_stride, const real *b, int64_t b_stride)
{
    vec total = vset1(0);
    for (int64_t d = 0; d < size; d++) total = vfma(vload(a + d * a_stride), vload(b + d * b_stride), total);
    return total;
}

/* The length, from its square. */
INLINE vec capsule_length(vec square) { return vsqrt(vmax(vset1(REAL_MIN), square)); }

INLINE void squash(int64_t size, const real *s, int64_t s_stride, real *v)
{
    const vec square = capsule_dot(size, s, s_stride, s, s_stride);
    const vec f = capsule_length(square) / (vset1(1) + square);
    for (int64_t d = 0; d < size; d++) vstore(v + d * V, f * vload(s + d * s_stride));
}

/* dv has its coordinates side by side, s and ds are `s_stride` apart. */
INLINE void squash_gradient(int64_t size, const real *dv, const real *s, int64_t s_stride, real *ds)
{
    const vec square = capsule_dot(size, s, s_stride, s, s_stride), length = capsule_length(square);
    const vec one = vset1(1), q = one / (one + square);
    const vec f = length * q, g = (one - square) * q * q / length * capsule_dot(size, s, s_stride, dv, V);
    for (int64_t d = 0; d < size; d++)
        vstore(ds + d * s_stride, vfma(f, vload(dv + d * V), g * vload(s + d * s_stride)));
}

/* ---- squash: x is (groups, size, positions, V), y is (groups, positions, size, V) -------------------------------- */

static void run_squash_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const capsules_args *a = args;
    const int64_t stride = a->positions * V, last = min64(a->groups, end * a->groups_per_task);
    (void)scratch;
    for (int64_t i = begin * a->groups_per_task; i < last; i++)
        for (int64_t p = 0; p < a->positions; p++) {
            const int64_t group = i * a->size * stride;
            squash(a->size, a->x + group + p * V, stride, a->y + group + p * a->size * V);
        }
}

static int squash_forward(pycnn_step *step, int64_t groups, int64_t size, int64_t positions, const void *x, void *y)
{
    return prepare_capsules(step, run_squash_forward,
                            (capsules_args){.groups = groups, .size = size, .positions = positions, .x = x, .y = y});
}

static void run_squash_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const capsules_args *a = args;
    const int64_t stride = a->positions * V, last = min64(a->groups, end * a->groups_per_task);
    (void)scratch;
    for (int64_t i = begin * a->groups_per_task; i < last; i++)
        for (int64_t p = 0; p < a->positions; p++) {
            const int64_t group = i * a->size * stride, first = group + p * V;
            squash_gradient(a->size, a->dy + group + p * a->size * V, a->x + first, stride, a->y + first);
        }
}

static int squash_backward(pycnn_step *step, int64_t groups, int64_t size, int64_t positions, const void *dy,
                           const void *x, void *dx)
{
    return prepare_capsules(step, run_squash_backward, (capsules_args){.groups = groups, .size = size, .x = x, .dy = dy,
                                                                       .positions = positions, .y = dx});
}

/* ---- length: x is (groups, size, V), y is (groups, V) ------------------------------------------------------------ */

static void run_length_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const capsules_args *a = args;
    const int64_t last = min64(a->groups, end * a->groups_per_task);
    (void)scratch;
    for (int64_t i = begin * a->groups_per_task; i < last; i++) {
        const real *x = a->x + i * a->size * V;
        vstore(a->y + i * V, vsqrt(capsule_dot(a->size, x, V, x, V)));
    }
}

static int length_forward(pycnn_step *step, int64_t groups, int64_t size, const void *x, void *y)
{
    return prepare_capsules(step, run_length_forward,
                            (capsules_args){.groups = groups, .size = size, .positions = 1, .x = x, .y = y});
}

static void run_length_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const capsules_args *a = args;
    const int64_t last = min64(a->groups, end * a->groups_per_task);
    (void)scratch;
    for (int64_t i = begin * a->groups_per_task; i < last; i++) {
        const real *x = a->x + i * a->size * V;
        const vec factor = vload(a->dy + i * V) / capsule_length(capsule_dot(a->size, x, V, x, V));
        for (int64_t d = 0; d < a->size; d++) vstore(a->y + (i * a->size + d) * V, factor * vload(x + d * V));
    }
}

static int length_backward(pycnn_step *step, int64_t groups, int64_t size, const void *dy, const void *x, void *dx)
{
    return prepare_capsules(step, run_length_backward, (capsules_args){.groups = groups, .size = size, .positions = 1,
                                                                       .x = x, .dy = dy, .y = dx});
}

/* ---- mask: x and y are (blocks of samples, capsules, size, V) ---------------------------------------------------- */

typedef struct {
    int64_t capsules, size;
    const real *x, *target;
    const lane_int *kept;
    real *y;
    lane_int *chosen;
} mask_args;

/* For each sample, the number of the capsule that its target names, or that of the longest where it names none. */
static ivec chosen_capsules(const mask_args *a, const real *x, const real *target)
{
    vec longest = vset1(0), named = vset1(0);
    ivec number = ivset1(0), name = ivset1(0);
    for (int64_t j = 0; j < a->capsules; j++) {
        const vec square = capsule_dot(a->size, x + j * a->size * V, V, x + j * a->size * V, V);
        const vmask longer = vbeats(square, longest);
        longest = vselect(longer, square, longest), number = ivselect(longer, ivset1((lane_int)j), number);
        if (!target) continue;
        const vec t = vload(target + j * V);
        const vmask more = vbeats(t, named);
        named = vselect(more, t, named), name = ivselect(more, ivset1((lane_int)j), name);
    }
    return ivselect(vgt(named, vset1(0)), name, number);
}

/* y = x where the capsule is the one of that number, else 0. */
static void keep_capsules(const mask_args *a, ivec number, const real *x, real *y)
{
    for (int64_t j = 0; j < a->capsules; j++) {
        const vmask kept = iveq(number, ivset1((lane_int)j));
        for (int64_t i = j * a->size * V; i < (j + 1) * a->size * V; i += V)
            vstore(y + i, vselect(kept, vload(x + i), vset1(0)));
    }
}

static void run_mask_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const mask_args *a = args;
    (void)scratch;
    for (int64_t block = begin; block < end; block++) {
        const real *x = a->x + block * a->capsules * a->size * V;
        const ivec number = chosen_capsules(a, x, a->target ? a->target + block * a->capsules * V : NULL);
        ivstore(a->chosen + block * V, number);
        keep_capsules(a, number, x, a->y + block * a->capsules * a->size * V);
    }
}

static int mask_forward(pycnn_step *step, int64_t n, int64_t capsules, int64_t size, const void *x, const void *target,
                        void *y, void *kept)
{
    if (capsules > INT32_MAX) return PYCNN_TOO_LARGE;
    const mask_args a = {.capsules = capsules, .size = size, .x = x, .target = target, .y = y, .chosen = kept};
    return PREPARE(step, run_mask_forward, ceil_div(n, V), 0, a);
}

static void run_mask_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const mask_args *a = args;
    const int64_t block_size = a->capsules * a->size * V;
    (void)scratch;
    for (int64_t block = begin; block < end; block++)
        keep_capsules(a, ivload(a->kept + block * V), a->x + block * block_size, a->y + block * block_size);
}

static int mask_backward(pycnn_step *step, int64_t n, int64_t capsules, int64_t size, const void *dy, const void *kept,
                         void *dx)
{
    const mask_args a = {.capsules = capsules, .size = size, .x = dy, .kept = kept, .y = dx};
    return PREPARE(step, run_mask_backward, ceil_div(n, V), 0, a);
}
