/* Local connections: a convolution whose weights are not the same everywhere (LeCun 1989; in sections, Abdel-Hamid
 * et al. 2012); the lanes are samples.
 *
 * The positions o of the output are cut along each axis into sections, s(o), and each section has weights of its own:
 *
 *     y[k][o]        = f(bias[k][s(o)] + sum over c, taps t, of w[k][s(o)][c][t] x[c][o stride - before + t dilation])
 *     dx[c][i]       = sum over k, o, t of w[k][s(o)][c][t] dy[k][o],   i = o stride - before + t dilation
 *     dw[k][s][c][t] = sum over samples, o in section s, of dy[k][o] x[c][o stride - before + t dilation]
 *
 * A *span* is a row of positions of one section whose windows hang over the input in the same way, so that one list of
 * taps does for all. Tiles are filters (or, in dx, channels or taps) by positions of a span; where sections are single
 * positions they are by vectors of samples. Then each weight is used once a vector, and its bandwidth binds; else
 * arithmetic. */

#define LOCAL_TASKS 16          /* at least, if there are as many parts to share */
#define LOCAL_NEAR_BYTES (256 * 1024)       /* of weights of a section that a task of dx keeps */

/* The four axes of a section's weights of one filter: channels, and taps along depth, height and width. */
enum { LOCAL_AXES = 4 };

typedef struct {
    pycnn_local p;
    int along;                          /* the axis of the window that spans follow */
    int single;                         /* whether sections are single positions */
    int64_t blocks, in_size, out_size, sections, weights;       /* the last: of a filter in a section */
    int64_t extent[LOCAL_AXES], w_step[LOCAL_AXES], x_step[LOCAL_AXES];
    int64_t in_step[3], y_step[3];      /* from a position to the next, of the input and of the output */
    row_span *reached[3];               /* for each position along an axis, the taps that fall on the input */
} local_geometry;

/* One entry of the three axes of weights beside the inner one: its place on them, in the weights, and in the input. */
typedef struct { int64_t t[LOCAL_AXES - 1], w, x; } local_entry;

/* Positions `at` and on, `count` of them; `x` is where tap 0 of channel 0 would fall, `y` where the output is. */
typedef struct { int64_t at[3], count, x, y; row_span taps[LOCAL_AXES]; } local_span;

typedef struct {
    local_geometry g;
    pycnn_activation activation;
    int accumulate, inner;              /* the axis of weights along which sums, or a side of the tiles, run */
    int outer[LOCAL_AXES - 1];          /* the others, and their entries */
    int64_t entries;
    local_entry *entry;
    int64_t i_tiles, i_most, j_most;    /* of the tiles: how many, and their sides */
    int64_t groups, parts;              /* of blocks of samples (in dw of filters), and of what else is shared */
    uint8_t *learns;
    const real *x, *w, *bias, *dy;
    real *y, *dx, *dw, *db;
} local_args;

static void release_local(void *args)
{
    local_args *a = args;
    free(a->g.reached[0]);
    free(a->entry);
    free(a->learns);
}

static int build_local(local_geometry *g, const pycnn_local *p)
{
    const pycnn_window *w = &p->window;
    *g = (local_geometry){.p = *p, .blocks = ceil_div(p->n, V), .in_size = volume_of(w->in),
                          .out_size = volume_of(w->out), .sections = volume_of(p->sections),
                          .weights = p->c * volume_of(w->kernel)};
    const int64_t most = max64(max64(p->c * g->in_size, p->k * g->out_size) * V, g->weights);
    if (most > INT32_MAX || g->blocks > INT32_MAX) return PYCNN_TOO_LARGE;
    g->extent[0] = p->c, g->w_step[0] = volume_of(w->kernel), g->x_step[0] = g->in_size * V;
    int64_t w_step = 1, x_step = V, y_step = V, longest = 0;
    for (int axis = 2; axis >= 0; axis--) {
        g->extent[axis + 1] = w->kernel[axis];
        g->w_step[axis + 1] = w_step, g->x_step[axis + 1] = x_step * w->dilation[axis];
        g->in_step[axis] = x_step, g->y_step[axis] = y_step;
        w_step *= w->kernel[axis], x_step *= w->in[axis], y_step *= w->out[axis];
        const int64_t length = ceil_div(w->out[axis], p->sections[axis]);
        if (length > longest) longest = length, g->along = axis;
    }
    g->single = longest == 1;
    row_span *r = malloc((size_t)(w->out[0] + w->out[1] + w->out[2]) * sizeof *r);
    if (!r) return PYCNN_NO_MEMORY;
    for (int axis = 0; axis < 3; axis++) {
        g->reached[axis] = r;
        const int64_t dilation = w->dilation[axis];
        for (int64_t o = 0; o < w->out[axis]; o++, r++) {
            const int64_t first = o * w->stride[axis] - w->before[axis];
            r->begin = min64(w->kernel[axis], first < 0 ? ceil_div(-first, dilation) : 0);
            const int64_t end = first < w->in[axis] ? (w->in[axis] - 1 - first) / dilation + 1 : 0;
            r->end = max64(r->begin, min64(w->kernel[axis], end));
        }
    }
    return PYCNN_OK;
}

/* Fills the step, or frees what the arguments own. */
static int prepare_local(pycnn_step *step, pycnn_run_tasks *run, int64_t tasks, int64_t reals, local_args a)
{
    const int status = PREPARE(step, run, tasks, (size_t)reals * sizeof(real), a);
    if (status) release_local(&a);
    else step->release = release_local;
    return status;
}

/* The longest of the axes of weights, other than `but`. */
static int longest_axis(const local_geometry *g, int but)
{
    int longest = but == 0;
    for (int axis = 0; axis < LOCAL_AXES; axis++)
        if (axis != but && g->extent[axis] >= g->extent[longest]) longest = axis;
    return longest;
}

/* Sets the inner axis and lists the entries of the others, or frees what the arguments own. */
static int list_entries(local_args *a, int inner)
{
    const local_geometry *g = &a->g;
    a->inner = inner;
    for (int axis = 0, i = 0; axis < LOCAL_AXES; axis++)
        if (axis != a->inner) a->outer[i++] = axis;
    a->entries = g->weights / g->extent[a->inner];
    a->entry = malloc((size_t)a->entries * sizeof *a->entry);
    if (!a->entry) {
        release_local(a);
        return PYCNN_NO_MEMORY;
    }
    for (int64_t number = 0; number < a->entries; number++) {
        local_entry *e = a->entry + number;
        int64_t rest = number;
        e->w = e->x = 0;
        for (int i = LOCAL_AXES - 2; i >= 0; i--) {
            const int axis = a->outer[i];
            e->t[i] = rest % g->extent[axis], rest /= g->extent[axis];
            e->w += e->t[i] * g->w_step[axis], e->x += e->t[i] * g->x_step[axis];
        }
    }
    return PYCNN_OK;
}

/* Whether the span has that entry of the outer axes: its taps fall on the input. */
INLINE int span_has(const local_args *a, const local_span *s, const local_entry *e)
{
    for (int i = 0; i < LOCAL_AXES - 1; i++)
        if (e->t[i] < s->taps[a->outer[i]].begin || e->t[i] >= s->taps[a->outer[i]].end) return 0;
    return 1;
}

/* Positions of a span, at most. */
static int64_t longest_span(const local_geometry *g)
{
    return ceil_div(g->p.window.out[g->along], g->p.sections[g->along]);
}

/* Cuts tiles of m (filters) by the columns of a span, and the blocks into groups. */
static void cut_local(local_args *a, int64_t m, int64_t depth)
{
    const int64_t columns = a->g.single ? a->g.blocks : longest_span(&a->g);
    const brgemm_cut cut = brgemm_choose_cut(m, columns, depth);
    a->i_tiles = cut.i_parts;
    a->i_most = ceil_div(m, cut.i_parts), a->j_most = ceil_div(columns, cut.j_parts);
    a->groups = a->g.single ? cut.j_parts : a->g.blocks;
}

/* Reals from a row of weights to the next: an odd number of cache lines, so that rows do not share their places. */
INLINE int64_t local_row(int64_t weights)
{
    const int64_t line = 64 / (int64_t)sizeof(real);
    return (ceil_div(weights, line) | 1) * line;
}

/* ---- spans ------------------------------------------------------------------------------------------------------- */

static void section_box(const local_geometry *g, int64_t section, row_span box[3])
{
    for (int axis = 2; axis >= 0; axis--) {
        const int64_t parts = g->p.sections[axis], out = g->p.window.out[axis];
        box[axis] = (row_span){part_begin(out, parts, section % parts), part_begin(out, parts, section % parts + 1)};
        section /= parts;
    }
}

/* The next span of a section, or the first if s->count is 0; returns whether there is one. */
static int next_span(const local_geometry *g, const row_span box[3], local_span *s)
{
    const pycnn_window *w = &g->p.window;
    const int along = g->along;
    if (!s->count) {
        for (int axis = 0; axis < 3; axis++) s->at[axis] = box[axis].begin;
    } else if ((s->at[along] += s->count) == box[along].end) {
        s->at[along] = box[along].begin;
        int axis = 2;
        for (; axis >= 0; axis--) {
            if (axis == along) continue;
            if (++s->at[axis] < box[axis].end) break;
            s->at[axis] = box[axis].begin;
        }
        if (axis < 0) return 0;
    }
    s->x = s->y = 0;
    s->taps[0] = (row_span){0, g->p.c};
    for (int axis = 0; axis < 3; axis++) {
        s->taps[axis + 1] = g->reached[axis][s->at[axis]];
        s->x += (s->at[axis] * w->stride[axis] - w->before[axis]) * g->in_step[axis];
        s->y += s->at[axis] * g->y_step[axis];
    }
    const row_span *taps = g->reached[along] + s->at[along];
    const int64_t most = box[along].end - s->at[along];
    for (s->count = 1; s->count < most; s->count++)
        if (taps[s->count].begin != taps->begin || taps[s->count].end != taps->end) break;
    return 1;
}

#define FOR_SPANS(g, box, span) for (local_span span = {.count = 0}; next_span(g, box, &span);)

/* The columns of a tile: positions of a span of one block, or, where sections are single positions, blocks. */
typedef struct { int64_t block, count, x_step, y_step; } local_columns;

static local_columns columns_of(const local_args *a, const local_span *s, int64_t group)
{
    const local_geometry *g = &a->g;
    if (g->single) {
        const int64_t block = part_begin(g->blocks, a->groups, group);
        return (local_columns){block, part_begin(g->blocks, a->groups, group + 1) - block, g->p.c * g->in_size * V,
                               g->p.k * g->out_size * V};
    }
    return (local_columns){group, s->count, g->p.window.stride[g->along] * g->in_step[g->along], g->y_step[g->along]};
}

/* ---- forward: i is k --------------------------------------------------------------------------------------------- */

/* The runs of a span's sums along the inner axis, from *w among the weights and *x in the input on. */
static int64_t local_runs(const local_args *a, const local_span *s, brgemm_run *runs, int64_t *w, int64_t *x)
{
    const local_geometry *g = &a->g;
    const row_span inner = s->taps[a->inner];
    const int64_t length = inner.end - inner.begin;
    int64_t count = 0, w_now = 0, x_now = 0;
    for (const local_entry *e = a->entry; e < a->entry + a->entries && length; e++) {
        if (!span_has(a, s, e)) continue;
        if (!count) *w = w_now = e->w, *x = x_now = e->x;
        if (count && e->w == w_now && e->x == x_now) runs[count - 1].length += (int32_t)length;
        else runs[count++] = (brgemm_run){(int32_t)(e->w - w_now), (int32_t)(e->x - x_now), (int32_t)length};
        w_now = e->w + length * g->w_step[a->inner], x_now = e->x + length * g->x_step[a->inner];
    }
    *w += inner.begin * g->w_step[a->inner], *x += inner.begin * g->x_step[a->inner];
    return count;
}

static void run_local_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const local_args *a = args;
    const local_geometry *g = &a->g;
    const int64_t row = local_row(g->weights), k_step = g->out_size * V;
    real *weights = scratch, *bias = weights + a->i_most * row;
    brgemm_run *runs = (brgemm_run *)(bias + a->i_most * V);
    for (int64_t task = begin; task < end; task++) {
        const int64_t section = task % g->sections, tile = task / g->sections % a->i_tiles;
        const row_span groups = tiles_of_task(a->groups, a->parts, task / g->sections / a->i_tiles);
        const int64_t k = part_begin(g->p.k, a->i_tiles, tile), ks = part_begin(g->p.k, a->i_tiles, tile + 1) - k;
        for (int64_t i = 0; i < ks; i++) {
            const int64_t from = (k + i) * g->sections + section;
            memcpy(weights + i * row, a->w + from * g->weights, (size_t)g->weights * sizeof(real));
            vstore(bias + i * V, vset1(a->bias ? a->bias[from] : 0));
        }
        row_span box[3];
        section_box(g, section, box);
        FOR_SPANS(g, box, s) {
            int64_t w_at = 0, x_at = 0;
            const int64_t count = local_runs(a, &s, runs, &w_at, &x_at);
            for (int64_t group = groups.begin; group < groups.end; group++) {
                const local_columns n = columns_of(a, &s, group);
                const real *x = a->x + n.block * g->p.c * g->in_size * V + s.x + x_at;
                real *y = a->y + (n.block * g->p.k + k) * k_step + s.y;
                const int64_t tiles = ceil_div(n.count, a->j_most);
                for (int64_t t = 0; t < tiles; t++) {
                    const int64_t j = part_begin(n.count, tiles, t), js = part_begin(n.count, tiles, t + 1) - j;
                    const brgemm_args tile_args = {
                        .a = weights + w_at, .a_i = row, .a_k = g->w_step[a->inner],
                        .b = x + j * n.x_step, .b_j = n.x_step, .b_k = g->x_step[a->inner], .init = bias, .init_i = V,
                        .c = y + j * n.y_step, .c_i = k_step, .c_j = n.y_step, .runs = runs, .run_count = count,
                        .floor = a->activation.kind == PYCNN_RELU ? 0 : -INFINITY};
                    brgemm(ks, js, &tile_args);
                    if (a->activation.kind == PYCNN_IDENTITY || a->activation.kind == PYCNN_RELU) continue;
                    for (int64_t i = 0; i < ks; i++)
                        for (int64_t l = j; l < j + js; l++) activate(a->activation, y + i * k_step + l * n.y_step, V);
                }
            }
        }
    }
}

static int local_forward(pycnn_step *step, const pycnn_local *p, pycnn_activation activation, const void *x,
                         const void *w, const void *bias, void *y)
{
    local_args a = {.activation = activation, .x = x, .w = w, .bias = bias, .y = y};
    int status = build_local(&a.g, p);
    if (status || (status = list_entries(&a, longest_axis(&a.g, -1)))) return status;
    cut_local(&a, p->k, a.g.weights);
    a.parts = min64(a.groups, ceil_div(LOCAL_TASKS, a.i_tiles * a.g.sections));
    const int64_t runs = ceil_div(a.entries * (int64_t)sizeof(brgemm_run), (int64_t)sizeof(real));
    return prepare_local(step, run_local_forward, a.parts * a.i_tiles * a.g.sections,
                         a.i_most * (local_row(a.g.weights) + V) + runs, a);
}

/* ---- backward_data: i is c, or the taps of an axis that spans do not follow -------------------------------------- */

/* A task is a group of blocks and a part of the channels: all that it writes is its own. */
static void run_local_backward_data(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const local_args *a = args;
    const local_geometry *g = &a->g;
    const pycnn_local *p = &g->p;
    const int64_t taps = volume_of(p->window.kernel), most = ceil_div(p->c, a->parts);
    const int64_t row = local_row(most * taps), c_step = g->in_size * V;
    real *weights = scratch, *columns = weights + p->k * row;
    const brgemm_run run = {.length = (int32_t)p->k};
    for (int64_t task = begin; task < end; task++) {
        const int64_t c = part_begin(p->c, a->parts, task % a->parts), group = task / a->parts;
        const int64_t cs = part_begin(p->c, a->parts, task % a->parts + 1) - c;
        const int64_t block = g->single ? part_begin(g->blocks, a->groups, group) : group;
        const int64_t blocks = g->single ? part_begin(g->blocks, a->groups, group + 1) - block : 1;
        for (int64_t b = block; b < block + blocks; b++)
            memset(a->dx + (b * p->c + c) * c_step, 0, (size_t)(cs * c_step) * sizeof(real));
        for (int64_t section = 0; section < g->sections; section++) {
            for (int64_t k = 0; k < p->k; k++)
                memcpy(weights + k * row, a->w + (k * g->sections + section) * g->weights + c * taps,
                       (size_t)(cs * taps) * sizeof(real));
            row_span box[3];
            section_box(g, section, box);
            FOR_SPANS(g, box, s) {
                s.taps[0].end = cs;
                const local_columns n = columns_of(a, &s, group);
                const real *dy = a->dy + n.block * p->k * g->out_size * V + s.y;
                real *dx = a->dx + (n.block * p->c + c) * c_step + s.x;
                const row_span inner = s.taps[a->inner];
                const int64_t length = inner.end - inner.begin, i_tiles = ceil_div(length, a->i_most);
                const int64_t j_tiles = ceil_div(n.count, a->j_most);
                for (int64_t jt = 0; jt < j_tiles; jt++) {
                    const int64_t j = part_begin(n.count, j_tiles, jt), js = part_begin(n.count, j_tiles, jt + 1) - j;
                    for (int64_t k = 0; k < p->k; k++)
                        for (int64_t l = 0; l < js; l++)
                            vstore(columns + (k * js + l) * V, vload(dy + k * g->out_size * V + (j + l) * n.y_step));
                    for (const local_entry *e = a->entry; e < a->entry + a->entries; e++) {
                        if (!span_has(a, &s, e)) continue;
                        for (int64_t it = 0; it < i_tiles; it++) {
                            const int64_t i = inner.begin + part_begin(length, i_tiles, it);
                            const int64_t is = inner.begin + part_begin(length, i_tiles, it + 1) - i;
                            real *to = dx + e->x + i * g->x_step[a->inner] + j * n.x_step;
                            brgemm(is, js, &(brgemm_args){
                                .a = weights + e->w + i * g->w_step[a->inner], .a_i = g->w_step[a->inner], .a_k = row,
                                .b = columns, .b_j = V, .b_k = js * V,
                                .init = to, .init_i = g->x_step[a->inner], .init_j = n.x_step,
                                .c = to, .c_i = g->x_step[a->inner], .c_j = n.x_step,
                                .runs = &run, .run_count = 1, .floor = -INFINITY});
                        }
                    }
                }
            }
        }
        if (a->activation.kind != PYCNN_IDENTITY)
            for (int64_t b = block; b < block + blocks; b++) {
                const int64_t at = (b * p->c + c) * c_step;
                activation_gradient(a->activation, a->dx + at, a->x + at, a->dx + at, cs * c_step);
            }
    }
}

static int local_backward_data(pycnn_step *step, const pycnn_local *p, pycnn_activation backward, const void *dy,
                               const void *w, const void *x, void *dx)
{
    local_args a = {.activation = backward, .dy = dy, .w = w, .x = x, .dx = dx};
    int status = build_local(&a.g, p);
    if (status || (status = list_entries(&a, longest_axis(&a.g, a.g.single ? -1 : a.g.along + 1)))) return status;
    const int64_t taps = volume_of(p->window.kernel);
    cut_local(&a, a.g.extent[a.inner], p->k);
    const int64_t near = max64(1, LOCAL_NEAR_BYTES / (p->k * taps * (int64_t)sizeof(real)));
    a.parts = min64(a.inner ? p->c : a.i_tiles, max64(ceil_div(p->c, near), ceil_div(LOCAL_TASKS, a.groups)));
    return prepare_local(step, run_local_backward_data, a.groups * a.parts,
                         p->k * (local_row(ceil_div(p->c, a.parts) * taps) + a.j_most * V), a);
}

/* ---- backward_weights: i is k, j the weights of a filter, as they lie; lanes are added in the end ---------------- */

/* Of a task, at most: then what it works on stays in the second-level cache. Columns are gathered, as in memory they
   may be far apart. */
#define LOCAL_FILTERS 64
#define LOCAL_WEIGHTS 32
#define LOCAL_COLUMNS 16

static void local_bias_gradient(const local_args *a, int64_t k)
{
    const local_geometry *g = &a->g;
    for (int64_t section = 0; section < g->sections; section++) {
        row_span box[3];
        vec total = vset1(0);
        section_box(g, section, box);
        FOR_SPANS(g, box, s)
            for (int64_t block = 0; block < g->blocks; block++) {
                const real *dy = a->dy + (block * g->p.k + k) * g->out_size * V + s.y;
                for (int64_t l = 0; l < s.count; l++) total += vload(dy + l * g->y_step[g->along]);
            }
        put_sum(a->accumulate, a->db + k * g->sections + section, vsum_lanes(total));
    }
}

/* Copies `count` positions of so many blocks, each a vector, side by side. */
INLINE void copy_columns(const real *from, int64_t step, int64_t count, int64_t block_step, int64_t blocks, real *to)
{
    for (int64_t b = 0; b < blocks; b++)
        for (int64_t l = 0; l < count; l++, to += V) vstore(to, vload(from + b * block_step + l * step));
}

/* A part of a section's weights of some filters, and of the columns that their sums run over: `count` positions of a
   span, from the l-th on, of so many blocks. */
typedef struct { row_span k, w; local_span span; int64_t l, count, block, blocks; } local_chunk;

/* dy of the filters and x of the weights, each a row of columns; zeros where a tap does not fall on the input. */
static void gather_chunk(const local_args *a, const local_chunk *n, real *dy, real *x)
{
    const local_geometry *g = &a->g;
    const int64_t y_block = g->p.k * g->out_size * V, x_block = g->p.c * g->in_size * V, row = n->count * n->blocks * V;
    const int64_t y_step = g->y_step[g->along], x_step = g->p.window.stride[g->along] * g->in_step[g->along];
    for (int64_t k = n->k.begin; k < n->k.end; k++, dy += row)
        copy_columns(a->dy + n->block * y_block + k * g->out_size * V + n->span.y + n->l * y_step, y_step, n->count,
                       y_block, n->blocks, dy);
    for (int64_t w = n->w.begin; w < n->w.end; w++, x += row) {
        const local_entry *e = a->entry + w % a->entries;
        if (span_has(a, &n->span, e))
            copy_columns(a->x + n->block * x_block + w / a->entries * g->x_step[0] + e->x + n->span.x + n->l * x_step,
                           x_step, n->count, x_block, n->blocks, x);
        else
            memset(x, 0, (size_t)row * sizeof(real));
    }
}

/* totals[k][w] (+)= sum over the columns of dy[k] x[w]. */
static void sum_chunk(const local_args *a, int64_t ks, int64_t ws, int64_t columns, int first, const real *dy,
                      const real *x, real *totals)
{
    const int64_t i_tiles = ceil_div(ks, a->i_most), j_tiles = ceil_div(ws, a->j_most), row = columns * V;
    const brgemm_run run = {.length = (int32_t)columns};
    static const real zero[V] = {0};
    for (int64_t jt = 0; jt < j_tiles; jt++) {
        const int64_t j = part_begin(ws, j_tiles, jt), js = part_begin(ws, j_tiles, jt + 1) - j;
        for (int64_t it = 0; it < i_tiles; it++) {
            const int64_t i = part_begin(ks, i_tiles, it), is = part_begin(ks, i_tiles, it + 1) - i;
            real *to = totals + (i * ws + j) * V;
            brgemm_args tile = {.a = dy + i * row, .a_i = row, .a_k = V, .b = x + j * row, .b_j = row, .b_k = V,
                                .init = zero, .c = to, .c_i = ws * V, .c_j = V, .runs = &run, .run_count = 1,
                                .floor = -INFINITY};
            if (!first) tile.init = to, tile.init_i = ws * V, tile.init_j = V;
            brgemm_lanewise(is, js, &tile);
        }
    }
}

/* A task is a part of the weights of some filters in a section, or behind those the bias of a filter. */
static void run_local_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const local_args *a = args;
    const local_geometry *g = &a->g;
    const int64_t weight_tasks = a->parts * a->groups * g->sections;
    for (int64_t task = begin; task < end; task++) {
        if (task >= weight_tasks) {
            const int64_t k = task - weight_tasks;
            if (!a->learns || a->learns[k]) local_bias_gradient(a, k);
            continue;
        }
        const int64_t section = task / a->parts % g->sections;
        local_chunk n = {.k = tiles_of_task(g->p.k, a->groups, task / a->parts / g->sections),
                         .w = tiles_of_task(g->weights, a->parts, task % a->parts)};
        const row_span learning = learning_run(a->learns, n.k.begin, n.k.end);
        if (learning.begin == learning.end) continue;
        const int64_t ks = n.k.end - n.k.begin, ws = n.w.end - n.w.begin;
        real *dy = scratch, *x = dy + ks * LOCAL_COLUMNS * V, *totals = x + ws * LOCAL_COLUMNS * V;
        real *sums = totals + ks * ws * V;
        row_span box[3];
        section_box(g, section, box);
        int first = 1;
        FOR_SPANS(g, box, s) {
            n.span = s;
            const int64_t pieces = ceil_div(s.count, LOCAL_COLUMNS), most = max64(1, LOCAL_COLUMNS / s.count);
            for (int64_t piece = 0; piece < pieces; piece++) {
                n.l = part_begin(s.count, pieces, piece), n.count = part_begin(s.count, pieces, piece + 1) - n.l;
                for (n.block = 0; n.block < g->blocks; n.block += most) {
                    n.blocks = min64(most, g->blocks - n.block);
                    gather_chunk(a, &n, dy, x);
                    sum_chunk(a, ks, ws, n.count * n.blocks, first, dy, x, totals);
                    first = 0;
                }
            }
        }
        sum_lanes(totals, ks * ws, sums);
        for (int64_t i = 0; i < ks; i++) {
            if (a->learns && !a->learns[n.k.begin + i]) continue;
            real *dw = a->dw + ((n.k.begin + i) * g->sections + section) * g->weights + n.w.begin;
            for (int64_t j = 0; j < ws; j++) put_sum(a->accumulate, dw + j, sums[i * ws + j]);
        }
    }
}

static int local_backward_weights(pycnn_step *step, const pycnn_local *p, int accumulate, const uint8_t *learns,
                                  const void *dy, const void *x, void *dw, void *db)
{
    local_args a = {.accumulate = accumulate, .dy = dy, .x = x, .dw = dw, .db = db};
    int status = build_local(&a.g, p);
    if (status) return status;
    if (learns && !(a.learns = copied_flags(learns, p->k))) {
        release_local(&a);
        return PYCNN_NO_MEMORY;
    }
    if ((status = list_entries(&a, 0))) return status;
    a.groups = ceil_div(p->k, LOCAL_FILTERS);
    a.parts = min64(a.g.weights, ceil_div(LOCAL_TASKS, a.groups * a.g.sections));
    a.parts = max64(a.parts, ceil_div(a.g.weights, LOCAL_WEIGHTS));
    const int64_t ks = ceil_div(p->k, a.groups), ws = ceil_div(a.g.weights, a.parts);
    const brgemm_cut cut = brgemm_choose_cut(ks, ws, LOCAL_COLUMNS);
    a.i_most = ceil_div(ks, cut.i_parts), a.j_most = ceil_div(ws, cut.j_parts);
    return prepare_local(step, run_local_backward_weights, a.parts * a.groups * a.g.sections + (db ? p->k : 0),
                         ((ks + ws) * LOCAL_COLUMNS + ks * ws) * V + ks * ws + V, a);
}
