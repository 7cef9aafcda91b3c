/* What convolutions to a PLAIN target have in common: sizes, phases, tasks, and what follows the sums. Their few channels fill
 * neither lanes of channels nor, with a small batch, lanes of samples; conv_lanes.h and conv_columns.h find other lanes. */

typedef struct {
    pycnn_conv shape;
    int backward;
    int64_t sources, targets;               /* channels */
    int64_t source[3], target[3], source_size, target_size;
    int64_t phase_count[3], plane_phases, phases;
    axis_phase *axis[3];                    /* of each phase, in one piece of memory */
    int64_t all_taps, phase_taps;           /* of the kernel; of a phase, about */
    int64_t bands, band_rows;
} plain_pass;

static void release_plain(plain_pass *p) { free(p->axis[0]); }

static int build_plain(plain_pass *p, pycnn_conv shape, int backward)
{
    const pycnn_window *w = &shape.window;
    *p = (plain_pass){.shape = shape, .backward = backward, .source_size = 1, .target_size = 1,
                      .sources = backward ? shape.k : shape.c, .targets = backward ? shape.c : shape.k};
    int64_t axes = 0;
    for (int a = 0; a < 3; a++) {
        p->source[a] = backward ? w->out[a] : w->in[a];
        p->target[a] = backward ? w->in[a] : w->out[a];
        p->source_size *= p->source[a];
        p->target_size *= p->target[a];
        axes += p->phase_count[a] = axis_phase_count(w, a, backward);
    }
    p->plane_phases = p->phase_count[1] * p->phase_count[2];
    p->phases = p->phase_count[0] * p->plane_phases;
    p->all_taps = w->kernel[0] * w->kernel[1] * w->kernel[2];
    p->phase_taps = ceil_div(p->all_taps, p->phases);
    axis_phase *axis = malloc((size_t)axes * sizeof *axis);
    if (!axis) return PYCNN_NO_MEMORY;
    for (int a = 0; a < 3; a++) {
        p->axis[a] = axis;
        for (int64_t f = 0; f < p->phase_count[a]; f++) *axis++ = axis_phase_of(w, a, backward, f);
    }
    return PYCNN_OK;
}

/* The three axes of a phase. */
static void plain_phase(const plain_pass *p, int64_t phase, axis_phase axis[3])
{
    axis[0] = p->axis[0][phase / p->plane_phases];
    axis[1] = p->axis[1][phase / p->phase_count[2] % p->phase_count[1]];
    axis[2] = p->axis[2][phase % p->phase_count[2]];
}

INLINE int64_t taps_of(const axis_phase axis[3]) { return axis[0].taps * axis[1].taps * axis[2].taps; }

/* The taps of the phases before this one. */
static int64_t plain_taps_before(const plain_pass *p, int64_t phase)
{
    int64_t taps = 0;
    for (int64_t f = 0; f < phase; f++) {
        axis_phase axis[3];
        plain_phase(p, f, axis);
        taps += taps_of(axis);
    }
    return taps;
}

#define FOR_PLAIN_TAPS(axis)                                                                                           \
    for (int64_t t[3] = {0}; t[0] < (axis)[0].taps; t[0]++)                                                            \
        for (t[1] = 0; t[1] < (axis)[1].taps; t[1]++)                                                                  \
            for (t[2] = 0; t[2] < (axis)[2].taps; t[2]++)

/* Where the weight of tap t of a phase is, between a target and a source channel. */
INLINE int64_t plain_weight(const plain_pass *p, const axis_phase axis[3], const int64_t t[3], int64_t target, int64_t source)
{
    int64_t tap = 0;
    for (int i = 0; i < 3; i++) tap = tap * p->shape.window.kernel[i] + axis[i].first_tap + t[i] * axis[i].tap_step;
    return (p->backward ? source * p->targets + target : target * p->sources + source) * p->all_taps + tap;
}

/* Cuts the target's rows into bands: at least `fewest` of them, and enough for many threads if each keeps `least_rows`. */
static void divide_bands(plain_pass *p, int64_t fewest, int64_t least_rows)
{
    const axis_phase *row = p->axis[1];
    const int64_t rows = ceil_div(p->target[1], row->out_step), others = p->shape.n * p->target[0];
    const double flops = 2.0 * (double)(p->shape.n * p->targets * p->sources) * (double)(p->target_size * p->phase_taps);
    const int64_t wanted = max64(1, (int64_t)fmin(MOST_TASKS, flops / FLOPS_PER_TASK));
    int64_t bands = min64(rows, fewest);
    if (others * bands < wanted) bands = max64(bands, min64(ceil_div(wanted, others), ceil_div(rows, least_rows)));
    p->band_rows = ceil_div(rows, bands) * row->out_step;
    p->bands = ceil_div(p->target[1], p->band_rows);
}

/* A task: rows of the target at one depth of one sample. */
typedef struct { int64_t sample, depth; row_span rows; } plain_task;

static plain_task plain_task_of(const plain_pass *p, int64_t number)
{
    const int64_t row = number % p->bands * p->band_rows;
    return (plain_task){number / p->bands / p->target[0], number / p->bands % p->target[0],
                        {row, min64(row + p->band_rows, p->target[1])}};
}

typedef struct {
    pycnn_activation forward, backward;
    const real *source, *packed, *activated, *added;    /* activated: the x whose f'(x) multiplies dx */
    real *target;
} plain_arrays;

/* Where the target's rows of a task begin, in map t. */
INLINE int64_t plain_rows(const plain_pass *p, const plain_task *task, int64_t t)
{
    return ((task->sample * p->targets + t) * p->target[0] + task->depth) * p->target[1] * p->target[2]
         + task->rows.begin * p->target[2];
}

/* What follows the sums, on rows that are still in the cache. */
static void finish_plain(const plain_pass *p, const plain_arrays *a, const plain_task *task)
{
    const int64_t size = (task->rows.end - task->rows.begin) * p->target[2];
    for (int64_t t = 0; t < p->targets; t++) {
        const int64_t at = plain_rows(p, task, t);
        for (int64_t i = at; i < at + size && a->added; i++) a->target[i] += a->added[i];
        if (a->forward.kind != PYCNN_IDENTITY) activate(a->forward, a->target + at, size);
        if (a->backward.kind != PYCNN_IDENTITY)
            activation_gradient(a->backward, a->target + at, a->activated + at, a->target + at, size);
    }
}
