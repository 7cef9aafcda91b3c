/* Optimizers: one pass over parameters w, gradients g and the optimizer's memory. With g <- scale g:
 *
 *     sgd      g += decay w,  v = momentum v + (1 - dampening) g,  w -= lr (nesterov ? g + momentum v : v)
 *     adam     g += decay w, or decoupled: w -= lr decay w (Kingma & Ba, arXiv:1412.6980; Loshchilov & Hutter,
 *              arXiv:1711.05101),  m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2,
 *              w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)
 *     sdlm     w -= eta / (mu + h) g, h the diagonal of second derivatives (LeCun et al. 1998, eq. 21)
 *     rmsprop  g += decay w,  s = a s + (1 - a) g^2,  v = momentum v + g / (sqrt s + eps),  w -= lr v
 *
 * A task is a piece of a range, and writes nothing outside it: parameters between the ranges are frozen. sgd and
 * rmsprop do without momentum where velocity is NULL. Bound by memory: 3 loads and 2 stores an element for sgd, 4 and 3
 * for adam. */

typedef struct {
    const double *hyper, *guard, *limit;
    real *w, *first, *second;           /* the optimizer's memory: velocity, or m and v, or square and velocity */
    const real *g;
    double *scale, *norm;
    partial_sums *partial;
    int64_t pieces;
    pycnn_range piece[];
} update_args;

static int64_t count_pieces(const pycnn_range *range, int64_t ranges)
{
    int64_t pieces = 0;
    for (int64_t i = 0; i < ranges; i++) pieces += ceil_div(range[i].end - range[i].begin, ELEMENTS_PER_TASK);
    return pieces;
}

/* Fills a step with `a` and the ranges cut into pieces; without any, one that is empty. */
static int prepare_update(pycnn_step *step, pycnn_run_tasks *run, const pycnn_range *range, int64_t ranges,
                          update_args a)
{
    a.pieces = count_pieces(range, ranges);
    const int64_t tasks = max64(1, a.pieces);
    update_args *copy = malloc(sizeof a + (size_t)tasks * sizeof(pycnn_range));
    if (!copy) return PYCNN_NO_MEMORY;
    *copy = a;
    pycnn_range *piece = copy->piece;
    piece[0] = (pycnn_range){0, 0};
    for (int64_t i = 0; i < ranges; i++)
        for (int64_t begin = range[i].begin; begin < range[i].end; begin += ELEMENTS_PER_TASK)
            *piece++ = (pycnn_range){begin, min64(range[i].end, begin + ELEMENTS_PER_TASK)};
    *step = (pycnn_step){.run = run, .args = copy, .tasks = tasks};
    return PYCNN_OK;
}

INLINE int refused(const update_args *a) { return (a->guard && !isfinite(*a->guard)) || !isfinite(a->hyper[0]); }

/* ---- sgd --------------------------------------------------------------------------------------------------------- */

static void run_sgd(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const update_args *a = args;
    const double *h = a->hyper;
    const vec scale = vset1((real)h[0]), lr = vset1((real)h[1]), momentum = vset1((real)h[2]);
    const vec fresh = vset1((real)(1 - h[3])), decay = vset1((real)h[4]);
    const int nesterov = h[5] != 0;
    (void)scratch;
    if (refused(a)) return;
    for (int64_t task = begin; task < end; task++) {
        const int64_t last = a->piece[task].end;
        for (int64_t i = a->piece[task].begin; i < last; i += V) {
            vec w = vload_upto(a->w + i, last - i);
            vec g = vfma(scale, vload_upto(a->g + i, last - i), decay * w), move = g;
            if (a->first) {
                vec v = vfma(momentum, vload_upto(a->first + i, last - i), fresh * g);
                vstore_upto(a->first + i, v, last - i);
                move = nesterov ? vfma(momentum, v, g) : v;
            }
            vstore_upto(a->w + i, vfma(-lr, move, w), last - i);
        }
    }
}

static int sgd(pycnn_step *step, const pycnn_range *range, int64_t ranges, const double *hyper, const double *guard,
               void *w, const void *g, void *velocity)
{
    return prepare_update(step, run_sgd, range, ranges,
                          (update_args){.hyper = hyper, .guard = guard, .w = w, .g = g, .first = velocity});
}

/* ---- sdlm -------------------------------------------------------------------------------------------------------- */

static void run_sdlm(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const update_args *a = args;
    const double *h = a->hyper;
    const vec eta = vset1((real)(h[0] * h[1])), mu = vset1((real)h[2]);
    (void)scratch;
    if (refused(a)) return;
    for (int64_t task = begin; task < end; task++) {
        const int64_t last = a->piece[task].end;
        for (int64_t i = a->piece[task].begin; i < last; i += V) {
            const vec rate = eta / (mu + vload_upto(a->first + i, last - i));
            vstore_upto(a->w + i, vfma(-rate, vload_upto(a->g + i, last - i), vload_upto(a->w + i, last - i)), last - i);
        }
    }
}

static int sdlm(pycnn_step *step, const pycnn_range *range, int64_t ranges, const double *hyper, const double *guard,
                void *w, const void *g, const void *curvature)
{
    return prepare_update(step, run_sdlm, range, ranges,
                          (update_args){.hyper = hyper, .guard = guard, .w = w, .g = g, .first = (real *)curvature});
}

/* ---- adam -------------------------------------------------------------------------------------------------------- */

static void run_adam(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const update_args *a = args;
    const double *h = a->hyper;
    const double lr = h[1], beta1 = h[2], beta2 = h[3], weight_decay = h[5], t = h[7];
    const int decoupled = h[6] != 0;
    const vec scale = vset1((real)h[0]), eps = vset1((real)h[4]);
    const vec b1 = vset1((real)beta1), fresh1 = vset1((real)(1 - beta1));
    const vec b2 = vset1((real)beta2), fresh2 = vset1((real)(1 - beta2));
    const vec decay = vset1(decoupled ? 0 : (real)weight_decay);
    const vec shrink = vset1(decoupled ? (real)(1 - lr * weight_decay) : 1);
    const vec rate = vset1((real)(lr / (1 - pow(beta1, t)))), spread = vset1((real)(1 / sqrt(1 - pow(beta2, t))));
    (void)scratch;
    if (refused(a)) return;
    for (int64_t task = begin; task < end; task++) {
        const int64_t last = a->piece[task].end;
        for (int64_t i = a->piece[task].begin; i < last; i += V) {
            vec w = vload_upto(a->w + i, last - i);
            vec g = vfma(scale, vload_upto(a->g + i, last - i), decay * w);
            vec m = vfma(b1, vload_upto(a->first + i, last - i), fresh1 * g);
            vec v = vfma(b2, vload_upto(a->second + i, last - i), fresh2 * g * g);
            vstore_upto(a->first + i, m, last - i);
            vstore_upto(a->second + i, v, last - i);
            vstore_upto(a->w + i, shrink * w - rate * m / vfma(vsqrt(v), spread, eps), last - i);
        }
    }
}

static int adam(pycnn_step *step, const pycnn_range *range, int64_t ranges, const double *hyper, const double *guard,
                void *w, const void *g, void *m, void *v)
{
    return prepare_update(step, run_adam, range, ranges,
                          (update_args){.hyper = hyper, .guard = guard, .w = w, .g = g, .first = m, .second = v});
}

/* ---- rmsprop ----------------------------------------------------------------------------------------------------- */

static void run_rmsprop(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const update_args *a = args;
    const double *h = a->hyper;
    const vec scale = vset1((real)h[0]), lr = vset1((real)h[1]), alpha = vset1((real)h[2]);
    const vec fresh = vset1((real)(1 - h[2])), eps = vset1((real)h[3]), decay = vset1((real)h[4]);
    const vec momentum = vset1((real)h[5]);
    (void)scratch;
    if (refused(a)) return;
    for (int64_t task = begin; task < end; task++) {
        const int64_t last = a->piece[task].end;
        for (int64_t i = a->piece[task].begin; i < last; i += V) {
            vec w = vload_upto(a->w + i, last - i);
            vec g = vfma(scale, vload_upto(a->g + i, last - i), decay * w);
            vec s = vfma(alpha, vload_upto(a->first + i, last - i), fresh * g * g);
            vec move = g / (vsqrt(s) + eps);
            vstore_upto(a->first + i, s, last - i);
            if (a->second) {
                move = vfma(momentum, vload_upto(a->second + i, last - i), move);
                vstore_upto(a->second + i, move, last - i);
            }
            vstore_upto(a->w + i, vfma(-lr, move, w), last - i);
        }
    }
}

static int rmsprop(pycnn_step *step, const pycnn_range *range, int64_t ranges, const double *hyper, const double *guard,
                   void *w, const void *g, void *square, void *velocity)
{
    return prepare_update(step, run_rmsprop, range, ranges,
                          (update_args){.hyper = hyper, .guard = guard, .w = w, .g = g, .first = square,
                                        .second = velocity});
}

/* ---- the norm of the gradient ------------------------------------------------------------------------------------ */

static void release_update(void *args) { free(((update_args *)args)->partial); }

static void run_clip_norm(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const update_args *a = args;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t last = a->piece[task].end;
        double squares[V] = {0}, total[2];
        for (int64_t i = a->piece[task].begin; i < last; i += V) add_squares(squares, vload_upto(a->g + i, last - i));
        if (finish_task(a->partial, task, sum_of_lanes(squares), 0, total)) {
            const double norm = sqrt(total[0]);
            *a->norm = norm;
            *a->scale = !isfinite(norm) ? NAN : norm > *a->limit ? *a->limit / norm : 1;
        }
    }
}

static int clip_norm(pycnn_step *step, const pycnn_range *range, int64_t ranges, const double *limit, const void *g,
                     double *scale, double *norm)
{
    update_args a = {.limit = limit, .g = g, .scale = scale, .norm = norm};
    if (!(a.partial = new_partial_sums(max64(1, count_pieces(range, ranges))))) return PYCNN_NO_MEMORY;
    int status = prepare_update(step, run_clip_norm, range, ranges, a);
    if (status == PYCNN_OK) step->release = release_update;
    else free(a.partial);
    return status;
}
