/* Affine grids, and maps read at the positions of a grid. */
#include "check.h"

/* ---- affine grids ---- */

static void test_affine(int64_t n, int64_t rank, const int64_t size[3], int align_corners)
{
    const int64_t positions = size[0] * size[1] * size[2], values = rank * (rank + 1);
    double *theta = numbers(n * values, -2, 2), *dgrid = numbers(n * positions * rank, -1, 1);
    double *grid = zeros(n * positions * rank), *dtheta = zeros(n * values);
    double *grid_bound = zeros(n * positions * rank), *dtheta_bound = zeros(n * values);
    for (int64_t i = 0; i < n * positions * rank; i++) {
        const int64_t sample = i / rank / positions, a = i % rank;
        int64_t q = i / rank % positions;
        for (int64_t b = 0; b <= rank; b++) {
            double base = 1;
            if (b < rank) {
                const int64_t s = size[2 - b], divisor = s - align_corners;
                base = (double)(2 * (q % s) + 1 - s) / (double)(divisor ? divisor : 1);
                q /= s;
            }
            const int64_t t = (sample * rank + a) * (rank + 1) + b;
            grid[i] += theta[t] * base, grid_bound[i] += 4 * epsilon() * fabs(theta[t]);
            dtheta[t] += dgrid[i] * base, dtheta_bound[t] += fabs(dgrid[i]);
        }
    }
    void *grid_buffer = buffer(n * positions * rank), *dtheta_buffer = buffer(n * values);
    RUN(affine_grid_forward, n, rank, size, align_corners, buffer_of(theta, n * values), grid_buffer);
    RUN(affine_grid_backward, n, rank, size, align_corners, buffer_of(dgrid, n * positions * rank), dtheta_buffer);
    compare("grid", read_buffer(grid_buffer, n * positions * rank), grid, grid_bound, n * positions * rank);
    compare("dtheta", read_buffer(dtheta_buffer, n * values), dtheta, rounding(dtheta_bound, n * values, 1), n * values);
}

/* ---- sampling ---- */

typedef struct { int64_t at; double weight, slope; } tap;       /* `at` is -1 outside */

static double cubic(double d)
{
    d = fabs(d);
    return d <= 1 ? (1.25 * d - 2.25) * d * d + 1 : -0.75 * (((d - 5) * d + 8) * d - 4);
}

/* Of |d|, times the sign of d. */
static double cubic_slope(double d)
{
    const double s = d < 0 ? -1 : 1;
    d = fabs(d);
    return s * (d <= 1 ? (3.75 * d - 4.5) * d : -0.75 * ((3 * d - 10) * d + 8));
}

/* The position that lies at u when the axis is folded at its ends, one fold after the other. */
static double fold(double u, double low, double high, double *slope)
{
    while (high > low && (u < low || u > high)) u = u < low ? 2 * low - u : 2 * high - u, *slope = -*slope;
    return high > low ? u : 0;
}

static double place(const pycnn_sampling *s, int64_t size, double u, double *slope)
{
    const double edge = s->align_corners ? 0 : 0.5, last = (double)(size - 1);
    if (s->outside == PYCNN_OUTSIDE_ZERO) return u;
    if (s->outside == PYCNN_OUTSIDE_REFLECTED) u = fold(u, -edge, last + edge, slope);
    if (!(u > 0 && u < last)) *slope = 0;
    return fmin(fmax(u, 0), last);
}

/* The taps of u along an axis; returns how many. */
static int taps_of(const pycnn_sampling *s, int64_t size, double u, tap taps[4])
{
    double at[4], slope = 1, unused;
    const int count = s->mode == PYCNN_SAMPLE_CUBIC ? 4 : s->mode == PYCNN_SAMPLE_LINEAR ? 2 : 1;
    if (count < 4) u = place(s, size, u, &slope);
    for (int j = 0; j < count; j++) {
        at[j] = count == 1 ? rint(u) : floor(u) + j - (count == 4);
        const double d = u - at[j];
        taps[j].weight = count == 4 ? cubic(d) : count == 2 ? 1 - fabs(d) : 1;
        taps[j].slope = count == 4 ? cubic_slope(d) : count == 2 ? (j ? slope : -slope) : 0;
        if (count == 4) at[j] = place(s, size, at[j], &unused);
        taps[j].at = at[j] >= 0 && at[j] < (double)size ? (int64_t)at[j] : -1;
    }
    return count;
}

/* Coordinates are drawn so that floats compute them without rounding, away from the kinks of the weights. */
static void test_sampling(const pycnn_sampling *s)
{
    const int64_t in = s->in[0] * s->in[1] * s->in[2], rank = s->rank, points = s->n * s->positions;
    double *x = numbers(s->n * s->c * in, -1, 1), *dy = numbers(points * s->c, -1, 1), *grid = zeros(points * rank);
    double *y = zeros(points * s->c), *dx = zeros(s->n * s->c * in), *dgrid = zeros(points * rank);
    double *y_bound = zeros(points * s->c), *dx_bound = zeros(s->n * s->c * in), *dgrid_bound = zeros(points * rank);
    for (int64_t p = 0; p < points; p++) {
        tap taps[3][4] = {{{0, 1, 0}}, {{0, 1, 0}}, {{0, 1, 0}}};
        int count[3] = {1, 1, 1};
        double scale[3] = {0};
        for (int64_t a = 0; a < rank; a++) {
            const int64_t size = s->in[2 - a];
            const double u = (double)(2 * draw_int(-80, 16 * size + 80) + 1) / 32;
            scale[a] = (double)(size - s->align_corners) / 2;
            grid[p * rank + a] = scale[a] ? (u + (s->align_corners ? 0 : 0.5)) / scale[a] - 1 : 0.25;
            count[a] = taps_of(s, size, scale[a] ? u : 0, taps[a]);
        }
        for (int t = 0; t < count[0] * count[1] * count[2]; t++) {
            const tap of[3] = {taps[0][t % count[0]], taps[1][t / count[0] % count[1]], taps[2][t / count[0] / count[1]]};
            if (of[0].at < 0 || of[1].at < 0 || of[2].at < 0) continue;
            const int64_t at = (of[2].at * s->in[1] + of[1].at) * s->in[2] + of[0].at;
            const double w = of[0].weight * of[1].weight * of[2].weight;
            for (int64_t c = 0; c < s->c; c++) {
                const int64_t i = (p / s->positions * s->c + c) * in + at;
                const int64_t j = (p / s->positions * s->c + c) * s->positions + p % s->positions;
                y[j] += w * x[i], y_bound[j] += 16 * epsilon();
                dx[i] += w * dy[j], dx_bound[i] += 16 * epsilon();
                for (int64_t a = 0; a < rank; a++) {
                    const double others = of[(a + 1) % 3].weight * of[(a + 2) % 3].weight;
                    dgrid[p * rank + a] += scale[a] * of[a].slope * others * dy[j] * x[i];
                    dgrid_bound[p * rank + a] += 64 * epsilon() * scale[a];
                }
            }
        }
    }
    const void *x_buffer = buffer_of(x, s->n * s->c * in), *grid_buffer = buffer_of(grid, points * rank);
    const void *dy_buffer = buffer_of(dy, points * s->c);
    void *y_buffer = buffer(points * s->c), *dx_buffer = buffer(s->n * s->c * in), *dgrid_buffer = buffer(points * rank);
    RUN(grid_sample_forward, s, x_buffer, grid_buffer, y_buffer);
    RUN(grid_sample_backward_data, s, dy_buffer, grid_buffer, dx_buffer);
    RUN(grid_sample_backward_grid, s, dy_buffer, x_buffer, grid_buffer, dgrid_buffer);
    compare("y", read_buffer(y_buffer, points * s->c), y, y_bound, points * s->c);
    compare("dx", read_buffer(dx_buffer, s->n * s->c * in), dx, dx_bound, s->n * s->c * in);
    compare("dgrid", read_buffer(dgrid_buffer, points * rank), dgrid, dgrid_bound, points * rank);
}

/* Coordinates that are no numbers, or far away, read and write nothing outside: the maps are one sample long. */
static void test_wild_coordinates(const pycnn_sampling *s)
{
    static const double wild[] = {NAN, INFINITY, -INFINITY, 1e38, -1e38, 3e9, -3e9, 1e-40};
    const int64_t count = sizeof wild / sizeof *wild, in = s->in[0] * s->in[1] * s->in[2];
    pycnn_sampling one = *s;
    one.n = one.c = 1, one.positions = count;
    double *grid = zeros(count * s->rank), *x = numbers(in, 1, 1);
    for (int64_t i = 0; i < count * s->rank; i++) grid[i] = i % s->rank ? 0 : wild[i / s->rank];
    const void *grid_buffer = buffer_of(grid, count * s->rank), *x_buffer = buffer_of(x, in);
    const void *dy_buffer = buffer_of(numbers(count, 1, 1), count);
    void *y_buffer = buffer(count), *dx_buffer = buffer(in), *dgrid_buffer = buffer(count * s->rank);
    RUN(grid_sample_forward, &one, x_buffer, grid_buffer, y_buffer);
    RUN(grid_sample_backward_data, &one, dy_buffer, grid_buffer, dx_buffer);
    RUN(grid_sample_backward_grid, &one, dy_buffer, x_buffer, grid_buffer, dgrid_buffer);
    const double *y = read_buffer(y_buffer, count), *dx = read_buffer(dx_buffer, in);
    int finite = 1;
    for (int64_t i = 0; i < in; i++) finite &= isfinite(dx[i]);
    check(isnan(y[0]), "NaN in the grid gives NaN");
    check(finite, "NaN in the grid leaves the gradient to the maps alone");
    if (s->outside == PYCNN_OUTSIDE_REFLECTED || s->in[2] == s->align_corners) return;
    for (int64_t i = 1; i < 7; i++)
        check(fabs(y[i] - (s->outside == PYCNN_OUTSIDE_BORDER)) <= 16 * epsilon(), "far away lies what the padding says");
}

void test_grid_sample(void)
{
    static const int64_t grids[][3] = {{1, 1, 1}, {1, 1, 37}, {1, 5, 1}, {1, 7, 40}, {3, 1, 9}, {2, 3, 17}};
    for (size_t i = 0; i < sizeof grids / sizeof *grids; i++)
        for (int64_t rank = 1; rank <= 3; rank++)
            for (int align_corners = 0; align_corners < 2; align_corners++) {
                const int64_t size[3] = {rank > 2 ? grids[i][0] : 1, rank > 1 ? grids[i][1] : 1, grids[i][2]};
                begin_case("affine grid: rank %lld, size %lldx%lldx%lld, corners %d", (long long)rank, (long long)size[0],
                           (long long)size[1], (long long)size[2], align_corners);
                test_affine(1 + 2 * (int64_t)i, rank, size, align_corners);
                end_case();
            }
    for (int i = 0; i < 3 * 3 * 3 * 2 * 3; i++) {
        const int rank = 1 + i % 3, align = i / 27 % 2, shape = i / 54;
        const int64_t side[] = {1, 4, 8};
        pycnn_sampling s = {.n = draw_int(1, 3), .c = draw_int(1, 5), .positions = draw_int(1, 40), .rank = rank,
                            .mode = i / 3 % 3, .outside = i / 9 % 3, .align_corners = align};
        if (rank == 3 && s.mode == PYCNN_SAMPLE_CUBIC) continue;
        for (int a = 0; a < 3; a++) s.in[a] = a < 3 - rank ? 1 : side[(shape + a) % 3] + align;
        if (i % 7 == 0) s.in[2] = 1;
        begin_case("sampling: rank %d, mode %d, outside %d, corners %d, in %lldx%lldx%lld, n %lld, c %lld, at %lld", rank,
                   s.mode, s.outside, align, (long long)s.in[0], (long long)s.in[1], (long long)s.in[2], (long long)s.n,
                   (long long)s.c, (long long)s.positions);
        test_sampling(&s);
        test_wild_coordinates(&s);
        end_case();
    }
    begin_case("sampling: maps too large for offsets in a lane");
    const pycnn_sampling large = {.n = 1, .c = 1, .in = {1, (int64_t)1 << 31, (int64_t)1 << 32}, .positions = 1, .rank = 2};
    pycnn_step step = {0};
    check(kernels->grid_sample_forward(&step, &large, NULL, NULL, NULL) == PYCNN_TOO_LARGE, "they are refused");
    end_case();
}
