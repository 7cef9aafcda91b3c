/* Maps read between their positions, where a grid says (Jaderberg et al. 2015, arXiv:1506.02025, eq. 3 to 7). PLAIN.
 *
 *     y[n][c][q] = sum over taps t of w_t x[n][c][p_t],     w_t = product over axes a of w(u_a - p_ta)
 *     u_a = ((g_a + 1) size_a - 1) / 2, or (g_a + 1) (size_a - 1) / 2 with align_corners;     g = grid[n][q]
 *     dx[n][c][p_t] += w_t dy[n][c][q],     dgrid[n][q][a] = du_a/dg_a sum over t of dw_t/du_a sum over c of dy x[n][c][p_t]
 *
 * w is 1 at the nearest position; 1 - |d| at two; or at four the cubic of Keys (1981) with a = -3/4, as in ONNX. Outside
 * the maps lie zeros, the border repeated, or reflections: of taps for the cubic, of u_a for the others.
 *
 * The lanes are V positions of the grid. Their taps are found once for all channels: an offset into the map, negative where
 * there is none, and a weight. Values are gathered; the gradient to x is added lane by lane, by the one task that owns its
 * maps. Coordinates count from the last axis: x, y, z. NaN in the grid gives NaN, and reads nothing. */
enum { MOST_AXIS_TAPS = 4, MOST_SAMPLE_TAPS = 16 };
#define LARGEST_MAP ((int64_t)1 << (8 * sizeof(lane_int) - 2))  /* offsets, and somewhat more, fit in a lane */
#define SAMPLE_TASKS 32                                         /* about as many tasks, if there are few samples */

typedef struct {
    pycnn_sampling s;
    int64_t in_size, size[3], stride[3];        /* of a map: its positions; along x, y, z */
    int64_t parts;                              /* tasks that share a sample: its positions, or its channels */
    pixel_lanes lanes;
    const real *x, *grid, *dy;
    real *y, *dx, *dgrid;
} sample_args;

/* What a coordinate reads along an axis: offsets, weights, and their slopes by the coordinate. */
typedef struct {
    int count;
    ivec at[MOST_AXIS_TAPS];
    vec weight[MOST_AXIS_TAPS], slope[MOST_AXIS_TAPS];
} axis_taps;

typedef struct {
    int count;
    ivec at[MOST_SAMPLE_TAPS];
    vec weight[MOST_SAMPLE_TAPS], slope[3][MOST_SAMPLE_TAPS];
} sample_taps;

INLINE vec vfloor(vec a)
{
    const vec r = vround(a);
    return vselect(vgt(r, a), r - vset1(1), r);
}

/* `a` between low and high; NaN stays NaN. */
INLINE vec vclamp(vec a, real low, real high) { return vmin(vset1(high), vmax(vset1(low), a)); }

/* Where `u` comes to lie when the axis is folded at its ends. */
INLINE vec reflected(const sample_args *g, const int a, vec u, vec *slope)
{
    const real low = g->s.align_corners ? 0 : (real)-0.5;
    const real span = (real)(g->size[a] - (g->s.align_corners != 0));
    if (span == 0) {
        *slope = vset1(0);
        return u * vset1(0);
    }
    const vec distance = vabs(u - vset1(low)), folds = vfloor(distance / vset1(span));
    const vec rest = vfma(folds, vset1(-span), distance);
    const vmask forward = veq(folds, vfloor(folds * vset1((real)0.5)) * vset1(2));
    *slope = vselect(vgt(vset1(low), u), vset1(-1), vset1(1)) * vselect(forward, vset1(1), vset1(-1));
    return vselect(forward, rest, vset1(span) - rest) + vset1(low);
}

/* `u` brought to the axis, or where padding is zero to its surroundings, which are as good as infinity. */
INLINE vec placed(const sample_args *g, const int a, vec u, vec *slope)
{
    const real last = (real)(g->size[a] - 1);
    *slope = vset1(1);
    if (g->s.outside == PYCNN_OUTSIDE_ZERO) return vclamp(u, -3, last + 3);
    if (g->s.outside == PYCNN_OUTSIDE_REFLECTED) u = reflected(g, a, u, slope);
    *slope = vselect(vgt(u, vset1(0)), *slope, vset1(0));
    *slope = vselect(vgt(vset1(last), u), *slope, vset1(0));
    return vclamp(u, 0, last);
}

/* The offset of position p along the axis, a whole number or NaN; negative where there is none. */
INLINE ivec offset_of(const sample_args *g, const int a, vec p)
{
    const ivec i = vtoint(vmin(vset1((real)(g->size[a] + 2)), vmax(p, vset1(-3))));
    const vmask there = ivbelow(i, ivset1((lane_int)g->size[a]));
    return ivselect(there, ivselect(there, i, ivset1(0)) * ivset1((lane_int)g->stride[a]), ivset1(-1));
}

/* Keys' cubic and its slope at distances d <= 1 (near) and 1 <= d <= 2. */
#define KEYS ((real)-0.75)
INLINE vec cubic_near(vec d) { return vfma((vset1(KEYS + 2) * d - vset1(KEYS + 3)) * d, d, vset1(1)); }
INLINE vec cubic_far(vec d) { return vset1(KEYS) * (((d - vset1(5)) * d + vset1(8)) * d - vset1(4)); }
INLINE vec cubic_near_slope(vec d) { return (vset1(3 * (KEYS + 2)) * d - vset1(2 * (KEYS + 3))) * d; }
INLINE vec cubic_far_slope(vec d) { return vset1(KEYS) * ((vset1(3) * d - vset1(10)) * d + vset1(8)); }

INLINE void cubic_taps(const sample_args *g, const int a, vec u, axis_taps *taps)
{
    if (g->s.outside != PYCNN_OUTSIDE_REFLECTED) u = vclamp(u, -3, (real)(g->size[a] + 2));
    const vec floor = vfloor(u), t = u - floor, one = vset1(1);
    taps->count = 4;
    taps->weight[0] = cubic_far(t + one), taps->slope[0] = cubic_far_slope(t + one);
    taps->weight[1] = cubic_near(t), taps->slope[1] = cubic_near_slope(t);
    taps->weight[2] = cubic_near(one - t), taps->slope[2] = -cubic_near_slope(one - t);
    taps->weight[3] = cubic_far(vset1(2) - t), taps->slope[3] = -cubic_far_slope(vset1(2) - t);
    for (int j = 0; j < 4; j++) {
        vec p = floor + vset1((real)(j - 1)), slope;
        if (g->s.outside != PYCNN_OUTSIDE_ZERO) p = placed(g, a, p, &slope);
        taps->at[j] = offset_of(g, a, p);
    }
}

/* The taps along an axis of V coordinates in [-1, 1] or beyond. The product is rounded before one is taken from it, so that
   ties of `nearest` fall as in any arithmetic without fused operations. */
INLINE void find_axis_taps(const sample_args *g, const int mode, const int a, vec coordinate, axis_taps *taps)
{
    const real size = (real)(g->size[a] - (g->s.align_corners != 0)), half = (real)0.5;
    const vec scaled = vheld((coordinate + vset1(1)) * vset1(size));
    vec u = (g->s.align_corners ? scaled : scaled - vset1(1)) * vset1(half), slope;
    if (mode == PYCNN_SAMPLE_CUBIC) {
        cubic_taps(g, a, u, taps);
        slope = vset1(1);
    } else {
        u = placed(g, a, u, &slope);
        const int nearest = mode == PYCNN_SAMPLE_NEAREST;
        const vec p = nearest ? vround(u) : vfloor(u), t = u - p;
        taps->count = nearest ? 1 : 2;
        taps->weight[0] = nearest ? vfma(t, vset1(0), vset1(1)) : vset1(1) - t, taps->slope[0] = vset1(nearest ? 0 : -1);
        taps->weight[1] = t, taps->slope[1] = vset1(1);
        taps->at[0] = offset_of(g, a, p), taps->at[1] = offset_of(g, a, p + vset1(1));
    }
    for (int j = 0; j < taps->count; j++) taps->slope[j] *= slope * vset1(size * half);
}

/* The sum of offsets along the axes, negative if one of them is. */
INLINE ivec joined(ivec x, ivec y, ivec z)
{
    return (x + y + z) | ((x | y | z) >> (lane_int)(8 * sizeof(lane_int) - 1));
}

/* The taps of positions q .. q + lanes - 1 of sample n, and where they are wanted their slopes. */
INLINE void find_taps(const sample_args *g, const int mode, const int rank, const int slopes, int64_t n, int64_t q,
                      int64_t lanes, sample_taps *taps)
{
    vec coordinates[MOST_INTERLEAVED];
    axis_taps axes[3];
    deinterleave(rank, g->grid + (n * g->s.positions + q) * rank, lanes, coordinates);
#pragma GCC unroll 3
    for (int a = 0; a < 3; a++)
        if (a < rank) find_axis_taps(g, mode, a, coordinates[a], &axes[a]);
        else axes[a].count = 1, axes[a].at[0] = ivset1(0), axes[a].weight[0] = vset1(1), axes[a].slope[0] = vset1(0);
    taps->count = 0;
#pragma GCC unroll 2
    for (int z = 0; z < axes[2].count; z++)
#pragma GCC unroll 2
        for (int y = 0; y < axes[1].count; y++)
#pragma GCC unroll 2
            for (int x = 0; x < axes[0].count; x++) {
                const vec wx = axes[0].weight[x], wy = axes[1].weight[y], wz = axes[2].weight[z];
                const int t = taps->count++;
                taps->at[t] = joined(axes[0].at[x], axes[1].at[y], axes[2].at[z]);
                taps->weight[t] = wx * wy * wz;
                if (!slopes) continue;
                taps->slope[0][t] = axes[0].slope[x] * wy * wz;
                taps->slope[1][t] = wx * axes[1].slope[y] * wz;
                taps->slope[2][t] = wx * wy * axes[2].slope[z];
            }
}

/* A run function over `tasks`, compiled for the usual case, two taps along each of two axes, and for all others. */
#define SAMPLING_RUN(run, tasks)                                                                                       \
    static void run(const void *args, int64_t begin, int64_t end, void *scratch)                                       \
    {                                                                                                                  \
        const sample_args *g = args;                                                                                   \
        (void)scratch;                                                                                                 \
        if (g->s.mode == PYCNN_SAMPLE_LINEAR && g->s.rank == 2) tasks(g, PYCNN_SAMPLE_LINEAR, 2, begin, end);          \
        else tasks(g, g->s.mode, g->s.rank, begin, end);                                                               \
    }

/* The positions of a task that shares a sample with others: whole vectors of them. */
INLINE row_span positions_of(const sample_args *g, int64_t part)
{
    const int64_t vectors = ceil_div(g->s.positions, V);
    return (row_span){part_begin(vectors, g->parts, part) * V,
                      min64(g->s.positions, part_begin(vectors, g->parts, part + 1) * V)};
}

INLINE void grid_sample_forward_tasks(const sample_args *g, const int mode, const int rank, int64_t begin, int64_t end)
{
    sample_taps taps;
    for (int64_t task = begin; task < end; task++) {
        const int64_t n = task / g->parts;
        const row_span span = positions_of(g, task % g->parts);
        const real *x = g->x + n * g->s.c * g->in_size;
        for (int64_t q = span.begin; q < span.end; q += V) {
            const int64_t lanes = min64(V, span.end - q);
            find_taps(g, mode, rank, 0, n, q, lanes, &taps);
            for (int64_t c = 0; c < g->s.c; c++) {
                vec total = taps.weight[0] * vgather(x + c * g->in_size, taps.at[0]);
#pragma GCC unroll 4
                for (int t = 1; t < taps.count; t++)
                    total = vfma(taps.weight[t], vgather(x + c * g->in_size, taps.at[t]), total);
                vstore_upto(g->y + (n * g->s.c + c) * g->s.positions + q, total, lanes);
            }
        }
    }
}
SAMPLING_RUN(run_grid_sample_forward, grid_sample_forward_tasks)

INLINE void grid_sample_backward_data_tasks(const sample_args *g, const int mode, const int rank, int64_t begin, int64_t end)
{
    sample_taps taps;
    lane_int at[MOST_SAMPLE_TAPS][V];
    for (int64_t task = begin; task < end; task++) {
        const int64_t n = task / g->parts, part = task % g->parts;
        const int64_t first = part_begin(g->s.c, g->parts, part), last = part_begin(g->s.c, g->parts, part + 1);
        real *dx = g->dx + n * g->s.c * g->in_size;
        memset(dx + first * g->in_size, 0, (size_t)((last - first) * g->in_size) * sizeof *dx);
        for (int64_t q = 0; q < g->s.positions; q += V) {
            const int64_t lanes = min64(V, g->s.positions - q);
            find_taps(g, mode, rank, 0, n, q, lanes, &taps);
#pragma GCC unroll 4
            for (int t = 0; t < taps.count; t++) ivstore(at[t], taps.at[t]);
            for (int64_t c = first; c < last; c++) {
                const vec dy = vload_upto(g->dy + (n * g->s.c + c) * g->s.positions + q, lanes);
#pragma GCC unroll 4
                for (int t = 0; t < taps.count; t++) {
                    real product[V];
                    vstore(product, taps.weight[t] * dy);
                    for (int64_t l = 0; l < lanes; l++)
                        if (at[t][l] >= 0) dx[c * g->in_size + at[t][l]] += product[l];
                }
            }
        }
    }
}
SAMPLING_RUN(run_grid_sample_backward_data, grid_sample_backward_data_tasks)

INLINE void grid_sample_backward_grid_tasks(const sample_args *g, const int mode, const int rank, int64_t begin, int64_t end)
{
    sample_taps taps;
    for (int64_t task = begin; task < end; task++) {
        const int64_t n = task / g->parts;
        const row_span span = positions_of(g, task % g->parts);
        const real *x = g->x + n * g->s.c * g->in_size;
        for (int64_t q = span.begin; q < span.end; q += V) {
            const int64_t lanes = min64(V, span.end - q);
            vec sums[MOST_SAMPLE_TAPS] = {{0}};
            real gradient[3 * V];
            find_taps(g, mode, rank, 1, n, q, lanes, &taps);
            for (int64_t c = 0; c < g->s.c; c++) {
                const vec dy = vload_upto(g->dy + (n * g->s.c + c) * g->s.positions + q, lanes);
#pragma GCC unroll 4
                for (int t = 0; t < taps.count; t++)
                    sums[t] = vfma(dy, vgather(x + c * g->in_size, taps.at[t]), sums[t]);
            }
#pragma GCC unroll 3
            for (int a = 0; a < rank; a++) {
                vec total = taps.slope[a][0] * sums[0];
#pragma GCC unroll 4
                for (int t = 1; t < taps.count; t++) total = vfma(taps.slope[a][t], sums[t], total);
                vstore(gradient + a * V, total);
            }
            interleave(&g->lanes, gradient, V, rank, lanes, g->dgrid + (n * g->s.positions + q) * rank);
        }
    }
}
SAMPLING_RUN(run_grid_sample_backward_grid, grid_sample_backward_grid_tasks)

/* A step of which a sample's share may be cut into `most` tasks. */
static int prepare_sampling(pycnn_step *step, pycnn_run_tasks *run, const pycnn_sampling *s, int64_t most, sample_args g)
{
    g.s = *s, g.in_size = 1;
    for (int a = 0; a < 3; a++) {
        g.size[a] = s->in[2 - a], g.stride[a] = g.in_size;
        if (g.size[a] > LARGEST_MAP / g.in_size) return PYCNN_TOO_LARGE;
        g.in_size *= g.size[a];
    }
    g.parts = min64(most, ceil_div(SAMPLE_TASKS, s->n));
    find_pixel_lanes(s->rank, &g.lanes);
    return PREPARE(step, run, s->n * g.parts, 0, g);
}

static int grid_sample_forward(pycnn_step *step, const pycnn_sampling *s, const void *x, const void *grid, void *y)
{
    const sample_args g = {.x = x, .grid = grid, .y = y};
    return prepare_sampling(step, run_grid_sample_forward, s, ceil_div(s->positions, V), g);
}

static int grid_sample_backward_data(pycnn_step *step, const pycnn_sampling *s, const void *dy, const void *grid, void *dx)
{
    const sample_args g = {.dy = dy, .grid = grid, .dx = dx};
    return prepare_sampling(step, run_grid_sample_backward_data, s, s->c, g);
}

static int grid_sample_backward_grid(pycnn_step *step, const pycnn_sampling *s, const void *dy, const void *x,
                                     const void *grid, void *dgrid)
{
    const sample_args g = {.dy = dy, .x = x, .grid = grid, .dgrid = dgrid};
    return prepare_sampling(step, run_grid_sample_backward_grid, s, ceil_div(s->positions, V), g);
}
