/* Losses and their gradients in one pass over scores and targets. With N elements (or positions) and weight w:
 *
 *                            loss                                                    gradient
 *     cross entropy          w / C sum_i c_i (log sum_j e^s_ij - s_i,label)          w / C c_i (p_ij - [j = label])
 *     mean squared error     w / N sum (y - t)^2                                     2 w / N (y - t)
 *     binary cross entropy   -w / N sum t log y + (1 - t) log(1 - y)                 w / N (y - t) / (y (1 - y))
 *       of logits            w / N sum max(y, 0) - y t + log(1 + e^-|y|)             w / N (sigmoid(y) - t)
 *
 * with c_i the weight of the label's class, or 1, and C their sum. As in PyTorch, logarithms of probabilities end at
 * -100 and y (1 - y) at 1e-12. Losses are summed in double, task by task in a fixed order, so that the number of
 * threads changes nothing. Bound by exp and log, the squared error by memory. */

/* ---- sums over the tasks of a step ------------------------------------------------------------------------------- */

/* Two sums of each task. The last task to finish adds them up. */
typedef struct {
    _Atomic int64_t finished;
    int64_t tasks;
    double sums[][2];
} partial_sums;

static partial_sums *new_partial_sums(int64_t tasks)
{
    partial_sums *p = malloc(sizeof *p + (size_t)tasks * sizeof(double[2]));
    if (!p) return NULL;
    p->finished = 0;
    p->tasks = tasks;
    return p;
}

/* Leaves the sums of a task. True for the last one, which gets the totals. */
static int finish_task(partial_sums *p, int64_t task, double first, double second, double total[2])
{
    p->sums[task][0] = first;
    p->sums[task][1] = second;
    if (++p->finished < p->tasks) return 0;
    p->finished = 0;
    total[0] = total[1] = 0;
    for (int64_t t = 0; t < p->tasks; t++) total[0] += p->sums[t][0], total[1] += p->sums[t][1];
    return 1;
}

/* ---- softmax cross entropy --------------------------------------------------------------------------------------- */

/* A bundle is up to V positions side by side, or the one position that a sample has. */
typedef struct {
    int64_t n, classes, positions;
    double weight;
    const real *scores;
    const int64_t *const *labels_slot;
    const void *const *class_weights_slot;
    real *dscores;
    double *result;
    int64_t bundles_per_sample, bundles, bundles_per_task;
    partial_sums *partial;
} cross_entropy_args;

static void release_cross_entropy(void *args) { free(((cross_entropy_args *)args)->partial); }

/* What a run of tasks reads from the slots. */
typedef struct {
    const int64_t *labels;
    const real *class_weights;
    double total_weight;
} cross_entropy_targets;

INLINE double weight_of_label(const cross_entropy_args *c, const cross_entropy_targets *t, int64_t label)
{
    if (label < 0 || label >= c->classes) return 0;
    return t->class_weights ? (double)t->class_weights[label] : 1;
}

static cross_entropy_targets read_targets(const cross_entropy_args *c)
{
    cross_entropy_targets t = {.labels = *c->labels_slot, .total_weight = (double)(c->n * c->positions)};
    t.class_weights = c->class_weights_slot ? *c->class_weights_slot : NULL;
    if (t.class_weights) {
        t.total_weight = 0;
        for (int64_t i = 0; i < c->n * c->positions; i++) t.total_weight += weight_of_label(c, &t, t.labels[i]);
    }
    return t;
}

/* One position whose scores s are contiguous. sums[0] += c_i loss, sums[1] += 1 if it is right. */
static void cross_entropy_line(const cross_entropy_args *c, const cross_entropy_targets *t, int64_t label,
                               const real *s, real *ds, double sums[2])
{
    const int64_t classes = c->classes;
    const double label_weight = weight_of_label(c, t, label), factor = c->weight * label_weight / t->total_weight;
    const int known = label >= 0 && label < classes;
    vec most_lanes = vset1(-(real)INFINITY), total_lanes = vset1(0);
    for (int64_t j = 0; j < classes; j += V)
        most_lanes = vmax_or_nan(most_lanes, vkeep_first(vload_upto(s + j, classes - j), classes - j, -(real)INFINITY));
    const real most = vmax_lanes_or_nan(most_lanes);
    for (int64_t j = 0; j < classes; j += V) {
        vec e = vkeep_first(vexp(vload_upto(s + j, classes - j) - vset1(most)), classes - j, 0);
        total_lanes += e;
        if (ds) vstore_upto(ds + j, e, classes - j);
    }
    const real total = vsum_lanes(total_lanes);
    if (known) {
        int64_t first = 0;
        sums[0] += label_weight * ((double)vlog(vset1(total))[0] - ((double)s[label] - (double)most));
        if (s[label] == most) {
            while (s[first] != most) first++;
            sums[1] += first == label;
        }
    }
    if (!ds) return;
    const vec scale = vset1((real)factor / total);
    for (int64_t j = 0; j < classes; j += V) vstore_upto(ds + j, scale * vload_upto(ds + j, classes - j), classes - j);
    if (known) ds[label] -= (real)factor;
}

/* `lanes` positions side by side; from one class to the next it is c->positions reals. */
static void cross_entropy_lines(const cross_entropy_args *c, const cross_entropy_targets *t, const int64_t *labels,
                                int64_t lanes, const real *s, real *ds, double sums[2])
{
    const int64_t stride = c->positions;
    vec most = vload_upto(s, lanes), total = vset1(0);
    ivec best = ivset1(0);
    for (int64_t j = 1; j < c->classes; j++) {
        vec a = vload_upto(s + j * stride, lanes);
        vmask better = vbeats(a, most);
        most = vselect(better, a, most);
        best = ivselect(better, ivset1((lane_int)j), best);
    }
    for (int64_t j = 0; j < c->classes; j++) {
        vec e = vexp(vload_upto(s + j * stride, lanes) - most);
        total += e;
        if (ds) vstore_upto(ds + j * stride, e, lanes);
    }
    const vec log_total = vlog(total);
    real factor[V] = {0};
    for (int64_t l = 0; l < lanes; l++) {
        const int64_t label = labels[l];
        const double label_weight = weight_of_label(c, t, label);
        if (label < 0 || label >= c->classes) continue;
        factor[l] = (real)(c->weight * label_weight / t->total_weight);
        sums[0] += label_weight * ((double)log_total[l] - ((double)s[label * stride + l] - (double)most[l]));
        sums[1] += best[l] == label;
    }
    if (!ds) return;
    const vec scale = vload(factor) / total;
    for (int64_t j = 0; j < c->classes; j++)
        vstore_upto(ds + j * stride, scale * vload_upto(ds + j * stride, lanes), lanes);
    for (int64_t l = 0; l < lanes; l++)
        if (labels[l] >= 0 && labels[l] < c->classes) ds[labels[l] * stride + l] -= factor[l];
}

static void run_cross_entropy(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const cross_entropy_args *c = args;
    const cross_entropy_targets t = read_targets(c);
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t last = min64(c->bundles, (task + 1) * c->bundles_per_task);
        double sums[2] = {0, 0}, total[2];
        for (int64_t b = task * c->bundles_per_task; b < last; b++) {
            const int64_t i = b / c->bundles_per_sample, p = b % c->bundles_per_sample * V;
            const int64_t offset = i * c->classes * c->positions + p;
            const int64_t *labels = t.labels + i * c->positions + p;
            real *ds = c->dscores ? c->dscores + offset : NULL;
            if (c->positions == 1) cross_entropy_line(c, &t, *labels, c->scores + offset, ds, sums);
            else cross_entropy_lines(c, &t, labels, min64(V, c->positions - p), c->scores + offset, ds, sums);
        }
        if (finish_task(c->partial, task, sums[0], sums[1], total)) {
            c->result[0] = c->weight * total[0] / t.total_weight;
            c->result[1] = total[1];
        }
    }
}

static int softmax_cross_entropy(pycnn_step *step, int64_t n, int64_t classes, int64_t positions, double weight,
                                 const void *scores, const int64_t *const *labels_slot,
                                 const void *const *class_weights_slot, void *dscores, double *result)
{
    cross_entropy_args c = {.n = n, .classes = classes, .positions = positions, .weight = weight, .scores = scores,
                            .labels_slot = labels_slot, .class_weights_slot = class_weights_slot, .dscores = dscores,
                            .result = result, .bundles_per_sample = ceil_div(positions, V)};
    c.bundles = n * c.bundles_per_sample;
    c.bundles_per_task = max64(1, ELEMENTS_PER_TASK / max64(1, classes * min64(positions, V)));
    const int64_t tasks = max64(1, ceil_div(c.bundles, c.bundles_per_task));
    if (!(c.partial = new_partial_sums(tasks))) return PYCNN_NO_MEMORY;
    int status = PREPARE(step, run_cross_entropy, tasks, 0, c);
    if (status == PYCNN_OK) step->release = release_cross_entropy;
    else free(c.partial);
    return status;
}

/* ---- losses of one number and its target ------------------------------------------------------------------------- */

typedef enum { SQUARED_ERROR, BINARY_CROSS_ENTROPY, BINARY_CROSS_ENTROPY_OF_LOGITS } loss_kind;

typedef struct {
    loss_kind kind;
    int64_t n;
    double weight;
    const real *y;
    const void *const *target_slot;
    real *dy;
    double *result;
    partial_sums *partial;
} loss_args;

static void release_loss(void *args) { free(((loss_args *)args)->partial); }

INLINE vec loss_of(const loss_kind kind, vec y, vec t)
{
    const vec one = vset1(1), zero = vset1(0), floor = vset1(-100);
    switch (kind) {
    case SQUARED_ERROR: return (y - t) * (y - t);
    case BINARY_CROSS_ENTROPY: return (t - one) * vmax(floor, vlog1p(-y)) - t * vmax(floor, vlog(y));
    default: return vmax(zero, y) - y * t + vlog1p(vexp(-vabs(y)));
    }
}

INLINE vec loss_gradient_of(const loss_kind kind, vec y, vec t)
{
    switch (kind) {
    case SQUARED_ERROR: return vset1(2) * (y - t);
    case BINARY_CROSS_ENTROPY: return (y - t) / vmax(vset1((real)1e-12), y * (vset1(1) - y));
    default: return vsigmoid(y) - t;
    }
}

/* The sum of the losses of n elements; dy may be NULL. */
INLINE double map_loss(const loss_kind kind, double factor, const real *y, const real *t, real *dy, int64_t n)
{
    double total[V] = {0};
    for (int64_t i = 0; i < n; i += V) {
        vec a = vload_upto(y + i, n - i), b = vload_upto(t + i, n - i);
        add_lanes(total, vkeep_first(loss_of(kind, a, b), n - i, 0));
        if (dy) vstore_upto(dy + i, vset1((real)factor) * loss_gradient_of(kind, a, b), n - i);
    }
    return sum_of_lanes(total);
}

static double loss_of_range(const loss_args *a, pycnn_range e)
{
    const real *y = a->y + e.begin, *t = (const real *)*a->target_slot + e.begin;
    real *dy = a->dy ? a->dy + e.begin : NULL;
    const double factor = a->weight / (double)a->n;
    const int64_t n = e.end - e.begin;
    switch (a->kind) {
    case SQUARED_ERROR: return map_loss(SQUARED_ERROR, factor, y, t, dy, n);
    case BINARY_CROSS_ENTROPY: return map_loss(BINARY_CROSS_ENTROPY, factor, y, t, dy, n);
    default: return map_loss(BINARY_CROSS_ENTROPY_OF_LOGITS, factor, y, t, dy, n);
    }
}

static void run_loss(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const loss_args *a = args;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        double total[2];
        double loss = loss_of_range(a, elements_of_tasks(a->n, task, task + 1));
        if (finish_task(a->partial, task, loss, 0, total)) {
            a->result[0] = a->weight * total[0] / (double)a->n;
            a->result[1] = 0;
        }
    }
}

static int prepare_loss(pycnn_step *step, loss_args a)
{
    const int64_t tasks = max64(1, elementwise_tasks(a.n));
    if (!(a.partial = new_partial_sums(tasks))) return PYCNN_NO_MEMORY;
    int status = PREPARE(step, run_loss, tasks, 0, a);
    if (status == PYCNN_OK) step->release = release_loss;
    else free(a.partial);
    return status;
}

static int mean_squared_error(pycnn_step *step, int64_t n, double weight, const void *y, const void *const *target_slot,
                              void *dy, double *result)
{
    return prepare_loss(step, (loss_args){.kind = SQUARED_ERROR, .n = n, .weight = weight, .y = y,
                                          .target_slot = target_slot, .dy = dy, .result = result});
}

static int binary_cross_entropy(pycnn_step *step, int logits, int64_t n, double weight, const void *y,
                                const void *const *target_slot, void *dy, double *result)
{
    const loss_kind kind = logits ? BINARY_CROSS_ENTROPY_OF_LOGITS : BINARY_CROSS_ENTROPY;
    return prepare_loss(step, (loss_args){.kind = kind, .n = n, .weight = weight, .y = y, .target_slot = target_slot,
                                          .dy = dy, .result = result});
}

/* ---- losses of outputs (n, classes) and labels ------------------------------------------------------------------- */

typedef struct label_loss_args label_loss_args;

/* One sample; sums[0] += loss, sums[1] += 1 if the label is what y predicts. dy, unless it is NULL, is `factor` times
   the derivative. */
typedef void label_loss(const label_loss_args *a, double factor, int64_t label, const real *y, real *dy,
                        double sums[2]);

struct label_loss_args {
    label_loss *of_sample;
    int64_t n, classes;
    double weight;
    double margin;                      /* of distances */
    int second;
    double present, absent, share;      /* of lengths */
    const real *y;
    const int64_t *const *labels_slot;
    real *dy;
    double *result;
    partial_sums *partial;
};

static void release_label_loss(void *args) { free(((label_loss_args *)args)->partial); }

/* Of distances y, as an RBF output has them: E = y_label + log(e^-margin + sum_i e^-y_i) (LeCun et al. 1998, eq. 9). With
   q_i = e^-y_i / (e^-margin + sum), dE/dy_i = [i = label] - q_i and d2E/dy_i2 = q_i (1 - q_i). The least is the
   prediction. */
static void distance_loss_of(const label_loss_args *a, double factor, int64_t label, const real *y, real *dy,
                             double sums[2])
{
    const int known = label >= 0 && label < a->classes;
    int64_t nearest = 0;
    for (int64_t i = 1; i < a->classes; i++)
        if (y[i] < y[nearest]) nearest = i;
    /* total = 1 + others, the 1 being the greatest of e^(least - margin) and all e^(least - y_i). */
    const int within = (double)y[nearest] < a->margin;
    const double least = within ? (double)y[nearest] : a->margin;
    double others = within ? exp(least - a->margin) : 0;
    for (int64_t i = 0; i < a->classes; i++)
        if (!within || i != nearest) others += exp(least - (double)y[i]);
    const double total = 1 + others;
    if (known) {
        sums[0] += ((double)y[label] - least) + log1p(others);
        sums[1] += nearest == label;
    }
    for (int64_t i = 0; dy && i < a->classes; i++) {
        const double q = exp(least - (double)y[i]) / total;
        dy[i] = (real)(factor * (a->second ? q * (1 - q) : (double)(i == label) - q));
    }
}

/* Of lengths y of capsules: max(0, present - y_label)^2 + share sum_(k != label) max(0, y_k - absent)^2 (Sabour et al.
   2017, eq. 4). The greatest is the prediction. */
static void margin_loss_of(const label_loss_args *a, double factor, int64_t label, const real *y, real *dy,
                           double sums[2])
{
    const int known = label >= 0 && label < a->classes;
    int64_t longest = 0;
    for (int64_t k = 0; k < a->classes; k++) {
        const double excess = k == label ? (double)y[k] - a->present : (double)y[k] - a->absent;
        const double off = k == label ? (excess > 0 ? 0 : excess) : (excess < 0 ? 0 : excess);
        const double scale = !known ? 0 : k == label ? 1 : a->share;
        if (y[k] > y[longest]) longest = k;
        if (known) sums[0] += scale * off * off;
        if (dy) dy[k] = (real)(factor * scale * 2 * off);
    }
    sums[1] += longest == label;
}

static void run_label_loss(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const label_loss_args *a = args;
    const int64_t per_task = ceil_div(a->n, a->partial->tasks), *labels = *a->labels_slot;
    const double factor = a->weight / (double)a->n;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        double sums[2] = {0, 0}, total[2];
        for (int64_t n = task * per_task; n < min64(a->n, (task + 1) * per_task); n++)
            a->of_sample(a, factor, labels[n], a->y + n * a->classes, a->dy ? a->dy + n * a->classes : NULL, sums);
        if (finish_task(a->partial, task, sums[0], sums[1], total)) {
            a->result[0] = a->weight * total[0] / (double)a->n;
            a->result[1] = total[1];
        }
    }
}

static int prepare_label_loss(pycnn_step *step, label_loss_args a)
{
    const int64_t tasks = max64(1, a.n * a.classes / 256);
    if (!(a.partial = new_partial_sums(tasks))) return PYCNN_NO_MEMORY;
    const int status = PREPARE(step, run_label_loss, tasks, 0, a);
    if (status == PYCNN_OK) step->release = release_label_loss;
    else free(a.partial);
    return status;
}

static int distance_loss(pycnn_step *step, int64_t n, int64_t classes, double weight, double margin, int second,
                         const void *y, pycnn_index_slot labels_slot, void *dy, double *result)
{
    return prepare_label_loss(step, (label_loss_args){.of_sample = distance_loss_of, .n = n, .classes = classes,
                                                      .weight = weight, .margin = margin, .second = second, .y = y,
                                                      .labels_slot = labels_slot, .dy = dy, .result = result});
}

static int margin_loss(pycnn_step *step, int64_t n, int64_t classes, double weight, double present, double absent,
                       double share, const void *y, pycnn_index_slot labels_slot, void *dy, double *result)
{
    return prepare_label_loss(step, (label_loss_args){.of_sample = margin_loss_of, .n = n, .classes = classes,
                                                      .weight = weight, .present = present, .absent = absent,
                                                      .share = share, .y = y, .labels_slot = labels_slot, .dy = dy,
                                                      .result = result});
}

/* ---- the total of several outputs' losses ------------------------------------------------------------------------ */

typedef struct { int64_t count; const double *results; double *total; } total_loss_args;

static void run_total_loss(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const total_loss_args *a = args;
    (void)begin, (void)end, (void)scratch;
    a->total[0] = a->total[1] = 0;
    for (int64_t i = 0; i < 2 * a->count; i++) a->total[i % 2] += a->results[i];
}

static int total_loss(pycnn_step *step, int64_t count, const double *results, double *total)
{
    const total_loss_args a = {count, results, total};
    return PREPARE(step, run_total_loss, 1, 0, a);
}
