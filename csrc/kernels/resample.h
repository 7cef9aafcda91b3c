/* Padding, cropping, upsampling and adaptive averages: a sparse matrix along each axis of planes of vectors.
 *
 *     y = (A_depth x A_height x A_width) x,    dx = (A_depth^T x A_height^T x A_width^T) dy
 *
 * so the gradient is the same kernel with the matrices transposed, and second derivatives take the squares of their
 * entries. A row of y is a weighted sum of rows of x, gathered in the nearest cache (a single row of weight one is
 * taken where it lies), and then a sum over the taps of each column. The columns fall into runs of as many taps, whose
 * number is a constant: none, where all is `empty`; one of weight one, which is a copy; one, two, and any number. Rows
 * do not depend on each other, so tasks are runs of rows. Bound by memory; what is large is streamed. */

typedef enum { NO_TAP, COPIED_TAP, ONE_TAP, TWO_TAPS, MANY_TAPS } taps_kind;
typedef struct { int64_t begin, end; taps_kind kind; } taps_run;

/* A matrix as pycnn_taps has it, with weights of this type. */
typedef struct {
    int64_t in, out, most;              /* most taps of an output */
    int64_t *begin, *index;
    real *weight;
} resample_axis;

typedef struct {
    resample_axis axis[3];
    taps_run *runs;                     /* of the columns */
    int64_t run_count;
    int64_t rows, rows_per_task;        /* of y, of all planes */
    int streamed;
    real empty;
    const real *x;
    real *y;
} resample_args;

static void release_resample(void *args)
{
    resample_args *r = args;
    for (int a = 0; a < 3; a++) free(r->axis[a].begin), free(r->axis[a].index), free(r->axis[a].weight);
    free(r->runs);
}

static taps_kind kind_of_taps(const resample_axis *a, int64_t o)
{
    const int64_t count = a->begin[o + 1] - a->begin[o];
    if (count == 0) return NO_TAP;
    if (count == 1) return a->weight[a->begin[o]] == 1 ? COPIED_TAP : ONE_TAP;
    return count == 2 ? TWO_TAPS : MANY_TAPS;
}

static int copy_axis(const pycnn_taps *taps, resample_axis *a)
{
    const int64_t count = taps->begin[taps->out];
    a->in = taps->in, a->out = taps->out;
    a->begin = malloc((size_t)(taps->out + 1) * sizeof(*a->begin));
    a->index = malloc((size_t)(count + 1) * sizeof(*a->index));
    a->weight = malloc((size_t)(count + 1) * sizeof(*a->weight));
    if (!a->begin || !a->index || !a->weight) return PYCNN_NO_MEMORY;
    memcpy(a->begin, taps->begin, (size_t)(taps->out + 1) * sizeof(*a->begin));
    memcpy(a->index, taps->index, (size_t)count * sizeof(*a->index));
    for (int64_t t = 0; t < count; t++) a->weight[t] = (real)taps->weight[t];
    for (int64_t o = 0; o < a->out; o++) a->most = max64(a->most, a->begin[o + 1] - a->begin[o]);
    return PYCNN_OK;
}

static int find_runs(resample_args *r)
{
    const resample_axis *width = &r->axis[2];
    r->runs = malloc((size_t)(width->out + 1) * sizeof(*r->runs));
    if (!r->runs) return PYCNN_NO_MEMORY;
    for (int64_t o = 0; o < width->out; o++) {
        const taps_kind kind = kind_of_taps(width, o);
        if (r->run_count && r->runs[r->run_count - 1].kind == kind) r->runs[r->run_count - 1].end = o + 1;
        else r->runs[r->run_count++] = (taps_run){o, o + 1, kind};
    }
    return PYCNN_OK;
}

/* ---- a row of y -------------------------------------------------------------------------------------------------- */

/* to[i] = the sum of weights[k] rows[k][i] over `count` rows, for n reals, in whole vectors. */
INLINE void sum_rows(const int64_t count, const real *const *rows, const real *weights, int64_t n, real *to)
{
    int64_t i = 0;
    for (; i + 4 * V <= n; i += 4 * V) {
        vec sum[4] = {vset1(0), vset1(0), vset1(0), vset1(0)};
        for (int64_t k = 0; k < count; k++)
            for (int j = 0; j < 4; j++) sum[j] = vfma(vset1(weights[k]), vload(rows[k] + i + j * V), sum[j]);
        for (int j = 0; j < 4; j++) vstore(to + i + j * V, sum[j]);
    }
    for (; i < n; i += V) {
        vec sum = vset1(0);
        for (int64_t k = 0; k < count; k++) sum = vfma(vset1(weights[k]), vload(rows[k] + i), sum);
        vstore(to + i, sum);
    }
}

/* The sum over `count` taps; four sums side by side do not wait for each other. */
INLINE vec sum_weighted(const int64_t *index, const real *weight, int64_t count, const real *x)
{
    vec sum[4] = {vset1(0), vset1(0), vset1(0), vset1(0)};
    int64_t t = 0;
    for (; t + 4 <= count; t += 4)
        for (int j = 0; j < 4; j++) sum[j] = vfma(vset1(weight[t + j]), vload(x + index[t + j] * V), sum[j]);
    for (; t < count; t++) sum[0] = vfma(vset1(weight[t]), vload(x + index[t] * V), sum[0]);
    return (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

/* y = A_width x for a row. */
INLINE void resample_row(const resample_args *r, const int streamed, const real *x, real *y)
{
    const resample_axis *a = &r->axis[2];
    for (int64_t i = 0; i < r->run_count; i++) {
        const int64_t begin = r->runs[i].begin, end = r->runs[i].end;
        const int64_t *index = a->index + a->begin[begin];
        const real *weight = a->weight + a->begin[begin];
        switch (r->runs[i].kind) {
        case NO_TAP:
            for (int64_t o = begin; o < end; o++) vput(streamed, y + o * V, vset1(r->empty));
            break;
        case COPIED_TAP:
            for (int64_t o = begin; o < end; o++) vput(streamed, y + o * V, vload(x + *index++ * V));
            break;
        case ONE_TAP:
            for (int64_t o = begin; o < end; o++)
                vput(streamed, y + o * V, vset1(*weight++) * vload(x + *index++ * V));
            break;
        case TWO_TAPS:
            for (int64_t o = begin; o < end; o++, index += 2, weight += 2)
                vput(streamed, y + o * V, vfma(vset1(weight[1]), vload(x + index[1] * V),
                                               vset1(weight[0]) * vload(x + index[0] * V)));
            break;
        case MANY_TAPS:
            for (int64_t o = begin; o < end; o++) {
                const int64_t count = a->begin[o + 1] - a->begin[o];
                vput(streamed, y + o * V, sum_weighted(index, weight, count, x));
                index += count, weight += count;
            }
        }
    }
}

/* ---- steps ------------------------------------------------------------------------------------------------------- */

/* The rows of a plane that row (od, oh) of y sums up, and their weights; returns how many. */
INLINE int64_t rows_of_taps(const resample_args *r, const real *plane, int64_t od, int64_t oh, const real **rows,
                            real *weights)
{
    const resample_axis *depth = &r->axis[0], *height = &r->axis[1];
    int64_t count = 0;
    for (int64_t d = depth->begin[od]; d < depth->begin[od + 1]; d++)
        for (int64_t h = height->begin[oh]; h < height->begin[oh + 1]; h++) {
            rows[count] = plane + (depth->index[d] * height->in + height->index[h]) * r->axis[2].in * V;
            weights[count++] = depth->weight[d] * height->weight[h];
        }
    return count;
}

INLINE size_t bytes_of_rows(const resample_args *r)
{
    return (size_t)round_up(r->axis[0].most * r->axis[1].most * (int64_t)sizeof(real *), 64);
}

static void run_resample(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const resample_args *r = args;
    const int64_t out_height = r->axis[1].out, height = r->axis[0].out * out_height;
    const int64_t in = r->axis[2].in * V, out = r->axis[2].out * V;
    const int64_t plane_size = r->axis[0].in * r->axis[1].in * in, last = min64(r->rows, end * r->rows_per_task);
    const real **rows = scratch;
    real *near = (real *)((char *)scratch + bytes_of_rows(r)), *weights = near + in;
    for (int64_t row = begin * r->rows_per_task; row < last; row++) {
        const real *plane = r->x + row / height * plane_size, *x = near;
        real *y = r->y + row * out;
        const int64_t count = rows_of_taps(r, plane, row % height / out_height, row % out_height, rows, weights);
        if (count == 0) {
            for (int64_t i = 0; i < out; i += V) vput(r->streamed, y + i, vset1(r->empty));
            continue;
        }
        if (count == 1 && weights[0] == 1) x = rows[0];
        else if (count == 2) sum_rows(2, rows, weights, in, near);
        else sum_rows(count, rows, weights, in, near);
        if (r->streamed) resample_row(r, 1, x, y);
        else resample_row(r, 0, x, y);
    }
    if (r->streamed) stream_fence();
}

static int resample(pycnn_step *step, const pycnn_taps axes[3], double empty, int64_t planes, const void *x, void *y)
{
    resample_args r = {.empty = (real)empty, .x = x, .y = y};
    int status = PYCNN_OK;
    for (int a = 0; a < 3 && status == PYCNN_OK; a++) status = copy_axis(&axes[a], &r.axis[a]);
    if (status == PYCNN_OK) status = find_runs(&r);
    if (status == PYCNN_OK) {
        const int64_t in = axes[0].in * axes[1].in * axes[2].in, rows = axes[0].out * axes[1].out;
        const int64_t elements = V * max64(in, rows * axes[2].out);
        r.rows = planes * rows;
        r.rows_per_task = max64(1, rows * ELEMENTS_PER_TASK / elements);
        r.streamed = is_streamable(y, planes * V * (in + rows * axes[2].out));
        const size_t reals = (size_t)(axes[2].in * V + r.axis[0].most * r.axis[1].most);
        const size_t scratch = bytes_of_rows(&r) + reals * sizeof(real);
        status = PREPARE(step, run_resample, ceil_div(r.rows, r.rows_per_task), scratch, r);
    }
    if (status == PYCNN_OK) step->release = release_resample;
    else release_resample(&r);
    return status;
}
