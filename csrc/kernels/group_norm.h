/* Group normalisation (Wu & He 2018, arXiv:1803.08494), and with it that of instances (a group for each map; Ulyanov et al.
 * 2016, arXiv:1607.08022) and of layers (one group, and a map for each value; Ba et al. 2016, arXiv:1607.06450): every group
 * of a sample's maps is shifted and scaled to mean 0 and deviation 1, then each map to mean beta_c and deviation gamma_c.
 *
 *     xhat    = (x - mean) inverse,   inverse = 1 / sqrt(variance + epsilon),   over the m values of a group
 *     y       = f(gamma_c xhat + beta_c)
 *     dx      = inverse (g - sum g / m - xhat sum (g xhat) / m),   g = gamma_c dy
 *     dbeta_c = sum dy,   dgamma_c = sum dy xhat,   over samples and positions
 *
 * Planes of vectors make a unit, which one task treats:
 *
 *     SAMPLES     the maps of a group: each lane has statistics of its own
 *     CHANNELS    so many planes that they hold whole groups: sums of lanes are added up by group
 *     PLAIN       a group, whose values lie side by side: there is one position, and all lanes belong together
 *
 * Squares are taken around the group's own mean, sums of chunks are added in double. A unit is read three times forward and
 * twice backward, all but once from cache as long as it fits. The gradients of gamma and beta are summed over shares of the
 * samples, then over the shares. Bound by memory. */
typedef struct {
    pycnn_layout layout;
    int64_t n, c, per_group, positions;
    int64_t blocks, planes, unit_planes, units;         /* blocks of samples, or samples; planes, units of one of them */
    int64_t bundle, bundles, shares;                    /* planes of a task of backward_weights; how many; of the samples */
} group_maps;

enum { SHARED_TASKS = 32 };     /* up to which the samples are shared out too */

static group_maps group_maps_of(pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions)
{
    group_maps m = {.layout = layout, .n = n, .c = c, .per_group = c / groups, .positions = positions, .blocks = n};
    switch (layout) {
    case PYCNN_SAMPLES:
        m.blocks = ceil_div(n, V), m.planes = c, m.unit_planes = m.per_group;
        break;
    case PYCNN_CHANNELS:
        m.planes = ceil_div(c, V), m.unit_planes = min64(m.planes, m.per_group / greatest_common_divisor(m.per_group, V));
        break;
    default:
        m.unit_planes = ceil_div(m.per_group, V), m.planes = groups * m.unit_planes;
    }
    m.units = ceil_div(m.planes, m.unit_planes);
    m.bundle = min64(m.planes, max64(1, CHUNK_VECTORS / (m.blocks * positions)));
    m.bundles = ceil_div(m.planes, m.bundle);
    m.shares = min64(min64(m.blocks, ceil_div(SHARED_TASKS, m.bundles)),
                     ceil_div(m.bundle * m.blocks * positions, CHUNK_VECTORS));
    return m;
}

/* Unit `number` of a block. */
typedef struct { int64_t block, number, planes; } group_unit;

INLINE group_unit unit_of(const group_maps *m, int64_t block, int64_t number)
{
    return (group_unit){block, number, min64(m->unit_planes, m->planes - number * m->unit_planes)};
}

INLINE group_unit unit_of_task(const group_maps *m, int64_t task) { return unit_of(m, task / m->units, task % m->units); }

/* Where plane j of a unit begins in x, and how many lanes of its vectors are there. */
INLINE int64_t unit_offset(const group_maps *m, const group_unit *u, int64_t j)
{
    if (m->layout == PYCNN_PLAIN) return u->block * m->c + u->number * m->per_group + j * V;
    return (u->block * m->planes + u->number * m->unit_planes + j) * m->positions * V;
}

INLINE int64_t unit_lanes(const group_maps *m, int64_t j)
{
    return m->layout == PYCNN_PLAIN ? min64(V, m->per_group - j * V) : V;
}

/* The reals of a unit. */
INLINE int64_t unit_size(const group_maps *m, const group_unit *u)
{
    return m->layout == PYCNN_PLAIN ? m->per_group : u->planes * m->positions * V;
}

/* The first map of plane j of a unit, and how many there are from it on, up to V. */
INLINE row_span unit_maps(const group_maps *m, const group_unit *u, int64_t j)
{
    const int64_t plane = u->number * m->unit_planes + j;
    switch (m->layout) {
    case PYCNN_SAMPLES: return (row_span){plane, plane + 1};
    case PYCNN_CHANNELS: return (row_span){plane * V, min64(m->c, plane * V + V)};
    default: return (row_span){u->number * m->per_group + j * V, u->number * m->per_group + min64(m->per_group, j * V + V)};
    }
}

/* The values of a parameter for the lanes of plane j. */
INLINE vec unit_parameter(const group_maps *m, const real *parameter, const group_unit *u, int64_t j)
{
    const row_span maps = unit_maps(m, u, j);
    return m->layout == PYCNN_SAMPLES ? vset1(parameter[maps.begin])
                                      : vload_upto(parameter + maps.begin, maps.end - maps.begin);
}

/* Parts of a unit with statistics of their own: planes whose lanes are channels, or the unit. */
INLINE int64_t unit_parts(const group_maps *m, const group_unit *u) { return m->layout == PYCNN_CHANNELS ? u->planes : 1; }
INLINE int64_t part_of_plane(const group_maps *m, int64_t j) { return m->layout == PYCNN_CHANNELS ? j : 0; }

/* Statistics are two vectors for each part: mean and inverse. */
INLINE int64_t statistics_offset(const group_maps *m, const group_unit *u, int64_t part)
{
    const int64_t parts = m->layout == PYCNN_CHANNELS ? m->planes : m->units;
    const int64_t first = m->layout == PYCNN_CHANNELS ? u->number * m->unit_planes : u->number;
    return (u->block * parts + first + part) * 2 * V;
}

typedef struct {
    group_maps maps;
    pycnn_activation f;
    double epsilon;
    int accumulate;
    const real *x, *dy, *gamma, *beta;
    real *statistics, *partial, *y, *dx, *dgamma, *dbeta;
} group_args;

/* Two sums for each lane of each part of a unit. */
INLINE size_t group_scratch(const group_maps *m)
{
    const int64_t parts = m->layout == PYCNN_CHANNELS ? m->unit_planes : 1;
    return (size_t)(2 * parts * V) * sizeof(double);
}

static int64_t group_norm_statistics_size(pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions)
{
    const group_maps m = group_maps_of(layout, n, c, groups, positions);
    return 2 * V * m.blocks * (layout == PYCNN_CHANNELS ? m.planes : m.units);
}

/* ---- statistics of a unit ---------------------------------------------------------------------------------------------- */

/* Adds the distances from `center`, or their squares, of n reals to the sums of their lanes. */
INLINE void add_distances(const real *x, int64_t n, vec center, const int squared, double sums[V])
{
    for (int64_t i = 0; i < n; i += ELEMENTS_PER_TASK) {
        const int64_t size = min64(n - i, ELEMENTS_PER_TASK), whole = size / V * V;
        vec sum = sum_around(x + i, whole, V, center, squared);
        if (whole < size) {
            const vec d = vkeep_first(vload_first(x + i + whole, size - whole) - center, size - whole, 0);
            sum += squared ? d * d : d;
        }
        add_lanes(sums, sum);
    }
}

/* The sums of lanes -> those of their groups, in each lane; zero in lanes that are no channels. */
static void join_groups(const group_maps *m, const group_unit *u, double *sums)
{
    if (m->layout == PYCNN_PLAIN) {
        const double total = sum_of_lanes(sums);
        for (int l = 0; l < V; l++) sums[l] = total;
    }
    if (m->layout != PYCNN_CHANNELS) return;
    const int64_t maps = min64(u->planes * V, m->c - u->number * m->unit_planes * V);
    for (int64_t begin = 0; begin < maps; begin += m->per_group) {
        double total = 0;
        for (int64_t c = 0; c < m->per_group; c++) total += sums[begin + c];
        for (int64_t c = 0; c < m->per_group; c++) sums[begin + c] = total;
    }
    for (int64_t c = maps; c < u->planes * V; c++) sums[c] = 0;
}

static void set_statistics(const group_args *a, const group_unit *u, double *sums)
{
    const group_maps *m = &a->maps;
    const int64_t parts = unit_parts(m, u), size = unit_size(m, u) / parts;
    const double values = (double)m->per_group * (double)m->positions;
    real *statistics = a->statistics + statistics_offset(m, u, 0);
    for (int64_t i = 0; i < parts * V; i++) sums[i] = 0;
    for (int64_t part = 0; part < parts; part++) {
        const real *x = a->x + unit_offset(m, u, part);
        real first[V];      /* nearer to the mean than zero is */
        vstore(first, m->layout == PYCNN_PLAIN ? vset1(*x) : vload(x));
        add_distances(x, size, vload(first), 0, sums + part * V);
        for (int l = 0; l < V; l++) sums[part * V + l] += (double)first[l] * (double)((size - l + V - 1) / V);
    }
    join_groups(m, u, sums);
    for (int64_t i = 0; i < parts * V; i++) {
        statistics[i / V * 2 * V + i % V] = (real)(sums[i] / values);
        sums[i] = 0;
    }
    for (int64_t part = 0; part < parts; part++)
        add_distances(a->x + unit_offset(m, u, part), size, vload(statistics + part * 2 * V), 1, sums + part * V);
    join_groups(m, u, sums);
    for (int64_t part = 0; part < parts; part++) {
        const row_span maps = unit_maps(m, u, part);
        const int64_t lanes = m->layout == PYCNN_CHANNELS ? maps.end - maps.begin : V;
        for (int64_t l = 0; l < V; l++)
            statistics[(part * 2 + 1) * V + l] = l < lanes ? (real)(1 / sqrt(sums[part * V + l] / values + a->epsilon)) : 0;
    }
}

/* ---- forward ----------------------------------------------------------------------------------------------------------- */

static void run_group_norm_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const group_args *a = args;
    const group_maps *m = &a->maps;
    for (int64_t task = begin; task < end; task++) {
        const group_unit u = unit_of_task(m, task);
        set_statistics(a, &u, scratch);
        for (int64_t j = 0; j < u.planes; j++) {
            const real *statistics = a->statistics + statistics_offset(m, &u, part_of_plane(m, j));
            const vec mean = vload(statistics), scale = unit_parameter(m, a->gamma, &u, j) * vload(statistics + V);
            const vec beta = unit_parameter(m, a->beta, &u, j);
            const int64_t at = unit_offset(m, &u, j), lanes = unit_lanes(m, j);
            for (int64_t i = at; i < at + m->positions * V; i += V)
                vstore_upto(a->y + i, vfma(vload_upto(a->x + i, lanes) - mean, scale, beta), lanes);
        }
        activate(a->f, a->y + unit_offset(m, &u, 0), unit_size(m, &u));
    }
}

static int group_norm_forward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t groups,
                              int64_t positions, double epsilon, pycnn_activation f, const void *x, const void *gamma,
                              const void *beta, void *statistics, void *y)
{
    const group_args a = {.maps = group_maps_of(layout, n, c, groups, positions), .f = f, .epsilon = epsilon, .x = x,
                          .gamma = gamma, .beta = beta, .statistics = statistics, .y = y};
    return PREPARE(step, run_group_norm_forward, a.maps.blocks * a.maps.units, group_scratch(&a.maps), a);
}

/* ---- gradients --------------------------------------------------------------------------------------------------------- */

/* Mean and inverse of plane j of a unit. */
INLINE norm_plane unit_plane(const group_args *a, const group_unit *u, int64_t j)
{
    const real *statistics = a->statistics + statistics_offset(&a->maps, u, part_of_plane(&a->maps, j));
    return (norm_plane){.mean = vload(statistics), .inverse = vload(statistics + V), .lanes = unit_lanes(&a->maps, j)};
}

/* Of maps of one position, whose parameters change from vector to vector: where a unit lies, its statistics, and gamma. */
typedef struct { int64_t begin, size; vec mean, inverse; const real *gamma; } value_unit;

INLINE int has_single_values(const group_maps *m) { return m->positions == 1 && m->layout != PYCNN_CHANNELS; }

INLINE value_unit value_unit_of(const group_args *a, const group_unit *u)
{
    const norm_plane p = unit_plane(a, u, 0);
    return (value_unit){unit_offset(&a->maps, u, 0), unit_size(&a->maps, u), p.mean, p.inverse,
                        a->gamma + unit_maps(&a->maps, u, 0).begin};
}

/* gamma dy of the vector at real i of a unit. */
INLINE vec value_gradient(const group_args *a, const value_unit *w, int64_t i, const int samples)
{
    const vec gamma = samples ? vset1(w->gamma[i / V]) : vload_upto(w->gamma + i, w->size - i);
    return gamma * vload_upto(a->dy + w->begin + i, w->size - i);
}

INLINE void sum_value_gradients(const group_args *a, const value_unit *w, const int samples, double sums[2 * V])
{
    for (int64_t begin = 0; begin < w->size; begin += ELEMENTS_PER_TASK) {
        vec g = vset1(0), gd = vset1(0);
        for (int64_t i = begin; i < min64(w->size, begin + ELEMENTS_PER_TASK); i += V) {
            const vec b = value_gradient(a, w, i, samples);     /* zero where x is not there */
            g += b, gd = vfma(b, vload_upto(a->x + w->begin + i, w->size - i) - w->mean, gd);
        }
        add_lanes(sums, g);
        add_lanes(sums + V, gd);
    }
}

INLINE void write_value_gradients(const group_args *a, const value_unit *w, const int samples, vec g_mean, vec gd_mean,
                                  int64_t lanes)
{
    for (int64_t i = 0; i < w->size; i += V) {
        const vec d = vload_upto(a->x + w->begin + i, w->size - i) - w->mean;
        const vec dx = w->inverse * (value_gradient(a, w, i, samples) - vfma(d, gd_mean, g_mean));
        vstore_upto(a->dx + w->begin + i, vkeep_first(dx, lanes, 0), w->size - i);
    }
}

/* The sums of gamma dy, and behind those of all parts, of gamma dy (x - mean), over groups. */
static void sum_unit_gradients(const group_args *a, const group_unit *u, double *sums)
{
    const group_maps *m = &a->maps;
    const int64_t parts = unit_parts(m, u), size = m->positions * V;
    for (int64_t i = 0; i < 2 * parts * V; i++) sums[i] = 0;
    vec g = vset1(0), gd = vset1(0);
    if (has_single_values(m)) {
        const value_unit w = value_unit_of(a, u);
        if (m->layout == PYCNN_SAMPLES) sum_value_gradients(a, &w, 1, sums);
        else sum_value_gradients(a, &w, 0, sums);
    } else for (int64_t j = 0, pending = 0; j < u->planes; j++) {
        const norm_plane p = unit_plane(a, u, j);
        const vec gamma = unit_parameter(m, a->gamma, u, j);
        const int64_t at = unit_offset(m, u, j), part = part_of_plane(m, j);
        for (int64_t i = 0; i < size; i += ELEMENTS_PER_TASK) {
            const int64_t reals = min64(ELEMENTS_PER_TASK, size - i);
            const gradient_sums s = sum_gradients(a->dy + at + i, a->x + at + i, reals, &p, 0);
            g = vfma(gamma, s.g, g), gd = vfma(gamma, s.gd, gd);
            pending += reals;
            if (pending < ELEMENTS_PER_TASK && m->layout != PYCNN_CHANNELS && j + 1 < u->planes) continue;
            add_lanes(sums + part * V, g);
            add_lanes(sums + (parts + part) * V, gd);
            g = gd = vset1(0), pending = 0;
        }
    }
    join_groups(m, u, sums);
    join_groups(m, u, sums + parts * V);
}

static void run_group_norm_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const group_args *a = args;
    const group_maps *m = &a->maps;
    const double share = 1 / ((double)m->per_group * (double)m->positions);
    double *sums = scratch;
    for (int64_t task = begin; task < end; task++) {
        const group_unit u = unit_of_task(m, task);
        const int64_t parts = unit_parts(m, &u);
        const int64_t samples = m->layout == PYCNN_SAMPLES ? min64(V, m->n - u.block * V) : V;
        real means[2][V];
        sum_unit_gradients(a, &u, sums);
        for (int64_t j = 0; j < u.planes; j++) {
            const norm_plane p = unit_plane(a, &u, j);
            const vec gamma = unit_parameter(m, a->gamma, &u, j);
            if (j < parts)
                for (int l = 0; l < V; l++)
                    for (int i = 0; i < 2; i++) means[i][l] = (real)(share * sums[(i * parts + j) * V + l]);
            const vec g_mean = vload(means[0]), gd_mean = p.inverse * p.inverse * vload(means[1]);
            if (has_single_values(m)) {
                const value_unit w = value_unit_of(a, &u);
                if (m->layout == PYCNN_SAMPLES) write_value_gradients(a, &w, 1, g_mean, gd_mean, samples);
                else write_value_gradients(a, &w, 0, g_mean, gd_mean, V);
                break;
            }
            const int64_t at = unit_offset(m, &u, j);
            for (int64_t i = at; i < at + m->positions * V; i += V) {
                const vec d = vload_upto(a->x + i, p.lanes) - p.mean, g = gamma * vload_upto(a->dy + i, p.lanes);
                const vec dx = p.inverse * (g - vfma(d, gd_mean, g_mean));
                vstore_upto(a->dx + i, vkeep_first(dx, samples, 0), p.lanes);
            }
        }
    }
}

static int group_norm_backward_data(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t groups,
                                    int64_t positions, const void *dy, const void *x, const void *statistics,
                                    const void *gamma, void *dx)
{
    const group_args a = {.maps = group_maps_of(layout, n, c, groups, positions), .dy = dy, .x = x,
                          .statistics = (real *)statistics, .gamma = gamma, .dx = dx};
    return PREPARE(step, run_group_norm_backward_data, a.maps.blocks * a.maps.units, group_scratch(&a.maps), a);
}

static int64_t group_norm_partial_size(pycnn_layout layout, int64_t n, int64_t c, int64_t groups, int64_t positions)
{
    return 2 * c * group_maps_of(layout, n, c, groups, positions).shares;
}

/* A task is a bundle of planes in a share of the samples. */
static void run_group_norm_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const group_args *a = args;
    const group_maps *m = &a->maps;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t share = task / m->bundles, first = task % m->bundles * m->bundle;
        const int64_t last_block = part_begin(m->blocks, m->shares, share + 1);
        real *dgamma = a->partial + share * 2 * m->c, *dbeta = dgamma + m->c;
        for (int64_t plane = first; plane < min64(m->planes, first + m->bundle); plane++) {
            const int64_t j = plane % m->unit_planes;
            vec g = vset1(0), gx = vset1(0);
            group_unit u = unit_of(m, part_begin(m->blocks, m->shares, share), plane / m->unit_planes);
            for (; u.block < last_block; u.block++) {
                const norm_plane p = unit_plane(a, &u, j);
                const int64_t at = unit_offset(m, &u, j);
                const gradient_sums s = sum_gradients(a->dy + at, a->x + at, m->positions * V, &p, 0);
                g += s.g, gx = vfma(s.gd, p.inverse, gx);
            }
            const row_span maps = unit_maps(m, &u, j);
            if (m->layout == PYCNN_SAMPLES) {
                dgamma[maps.begin] = vsum_lanes(gx), dbeta[maps.begin] = vsum_lanes(g);
            } else {
                vstore_upto(dgamma + maps.begin, gx, maps.end - maps.begin);
                vstore_upto(dbeta + maps.begin, g, maps.end - maps.begin);
            }
        }
    }
}

static int group_norm_backward_weights(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t groups,
                                       int64_t positions, const void *dy, const void *x, const void *statistics,
                                       void *partial)
{
    const group_args a = {.maps = group_maps_of(layout, n, c, groups, positions), .dy = dy, .x = x,
                          .statistics = (real *)statistics, .partial = partial};
    return PREPARE(step, run_group_norm_backward_weights, a.maps.bundles * a.maps.shares, 0, a);
}

static void run_group_norm_reduce_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const group_args *a = args;
    const int64_t c = a->maps.c;
    const pycnn_range maps = elements_of_tasks(c, begin, end);
    (void)scratch;
    for (int which = 0; which < 2; which++) {
        real *to = which ? a->dbeta : a->dgamma;
        for (int64_t i = maps.begin; i < maps.end; i += V) {
            vec sum = a->accumulate ? vload_upto(to + i, maps.end - i) : vset1(0);
            for (int64_t share = 0; share < a->maps.shares; share++)
                sum += vload_upto(a->partial + (2 * share + which) * c + i, maps.end - i);
            vstore_upto(to + i, sum, maps.end - i);
        }
    }
}

static int group_norm_reduce_weights(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t groups,
                                     int64_t positions, int accumulate, const void *partial, void *dgamma, void *dbeta)
{
    const group_args a = {.maps = group_maps_of(layout, n, c, groups, positions), .accumulate = accumulate,
                          .partial = (real *)partial, .dgamma = dgamma, .dbeta = dbeta};
    return PREPARE(step, run_group_norm_reduce_weights, elementwise_tasks(c), 0, a);
}
