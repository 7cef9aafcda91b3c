/* Routing by agreement between capsules (Sabour, Frosst, Hinton 2017, arXiv:1710.09829, procedure 1).
 *
 * Capsules u_i of E coordinates vote for capsules v_j of D coordinates with u_ij = W_ij u_i, i < I, j < J. In each
 * iteration r = 1 .. R, with V^r = v^1 + ... + v^(r-1),
 *
 *     b^r_ij = u_ij . V^r_j,    c^r_ij = softmax over j of b^r_ij
 *     s^r_j = sum over i of c^r_ij u_ij,    v^r_j = squash(s^r_j)
 *
 * The paper adds u_ij . v_j to b_ij after each iteration; being linear in v_j, all that is one product with V. So neither
 * votes nor logits are kept: a pass over i makes the votes of one i, in the nearest cache, their agreement with V, and
 * from these what it adds to s. Backward, from dv^R, a pass for each r = R .. 2, and one in tasks of an i and all samples:
 *
 *     ds^r = squash'(s^r) dv^r,    dc^r_ij = u_ij . ds^r_j
 *     db^r_ij = c^r_ij (dc^r_ij - sum over k of c^r_ik dc^r_ik)
 *     dV^r_j = sum over i of db^r_ij u_ij,    dv^(r-1) = dV^r + ... + dV^R
 *
 *     du_ij = sum over r of c^r_ij ds^r_j + db^r_ij V^r_j
 *     dW_ij = sum over samples of du_ij u_i^T,    du_i = sum over j of W_ij^T du_ij
 *
 * V^1 is zero: c^1 is 1/J, and nothing passes through it. Lanes are samples. Votes are a tile of D coordinates in registers
 * that takes a broadcast weight for each multiply-add; they bind, and are made R times forward and R times backward. The
 * two products of the last pass are the building block (brgemm.h). */

typedef struct {
    pycnn_routing p;
    int64_t blocks;             /* of V samples */
    int64_t out;                /* J D vectors, in reals */
    int accumulate;
    const real *u, *w, *dv;
    real *sums;                 /* s^r: (blocks, R, J, D, V) */
    real *traces;               /* V^r and ds^r: (blocks, R, 2, J, D, V) */
    real *v, *du, *dw;
    int64_t group;              /* blocks of samples at a time, in the last pass */
    brgemm_cut capsules_cut, weights_cut;
} routing_args;

static routing_args routing_of(const pycnn_routing *p, const void *u, const void *w, const void *sums,
                               const void *traces)
{
    return (routing_args){.p = *p, .blocks = ceil_div(p->n, V), .out = p->outputs * p->out_size * V, .u = u, .w = w,
                          .sums = (real *)sums, .traces = (real *)traces};
}

INLINE real *sums_of(const routing_args *a, int64_t block, int64_t r)
{
    return a->sums + (block * a->p.iterations + r) * a->out;
}

/* V^r; ds^r stands behind it. r counts from 0. */
INLINE real *trace_of(const routing_args *a, int64_t block, int64_t r)
{
    return a->traces + (block * a->p.iterations + r) * 2 * a->out;
}

/* ---- votes ------------------------------------------------------------------------------------------------------- */

#define VOTE_ROWS (TILE_VECTORS >= 24 ? 16 : 8)     /* coordinates of a vote in registers */

/* votes[d] = sum over e of w[d][e] u[e] for so many rows d, and dots[q] += votes . others[q] for `count` others, which
   are `stride` reals apart, as dots are `dot_stride`. */
INLINE void vote_tile(const int rows, int64_t size, const real *w, const real *u, real *votes, int64_t count,
                      const real *others, int64_t stride, real *dots, int64_t dot_stride)
{
    vec t[VOTE_ROWS];
    const vec first = vload(u);
#pragma GCC unroll 16
    for (int d = 0; d < rows; d++) t[d] = vset1(w[d * size]) * first;
    for (int64_t e = 1; e < size; e++) {
        const vec ue = vheld(vload(u + e * V));
#pragma GCC unroll 16
        for (int d = 0; d < rows; d++) t[d] = vfma(vset1(w[d * size + e]), ue, t[d]);
    }
#pragma GCC unroll 16
    for (int d = 0; d < rows; d++) vstore(votes + d * V, t[d]);
    for (int64_t q = 0; q < count; q++) {
        const real *other = others + q * stride;
        vec even = vload(dots + q * dot_stride), odd = vset1(0);
#pragma GCC unroll 16
        for (int d = 0; d < rows; d++) {
            if (d % 2) odd = vfma(t[d], vload(other + d * V), odd);
            else even = vfma(t[d], vload(other + d * V), even);
        }
        vstore(dots + q * dot_stride, even + odd);
    }
}

/* The votes u_ij of capsule i for all j, and their products dots[q][j] with `count` tensors (J, D, V) at `others`. */
INLINE void cast_votes_of(const int64_t size, const routing_args *a, int64_t i, const real *u, real *votes,
                          int64_t count, const real *others, real *dots)
{
    const int64_t outputs = a->p.outputs, depth = a->p.out_size;
    for (int64_t k = 0; k < count * outputs; k++) vstore(dots + k * V, vset1(0));
    for (int64_t j = 0; j < outputs; j++)
        for (int64_t d = 0; d < depth;) {
            const int64_t row = j * depth + d;
            const real *w = a->w + (i * outputs * depth + row) * size;
#define VOTES(rows)                                                                                                    \
    vote_tile(rows, size, w, u, votes + row * V, count, others + row * V, a->out, dots + j * V, outputs * V), d += rows
            if (VOTE_ROWS == 16 && depth - d >= 16) VOTES(VOTE_ROWS);
            else if (depth - d >= 8) VOTES(8);
            else if (depth - d >= 4) VOTES(4);
            else if (depth - d >= 2) VOTES(2);
            else VOTES(1);
#undef VOTES
        }
}

/* With the usual eight coordinates, offsets of weights are constants. */
static void cast_votes(const routing_args *a, int64_t i, const real *u, real *votes, int64_t count, const real *others,
                       real *dots)
{
    if (a->p.in_size == 8) cast_votes_of(8, a, i, u, votes, count, others, dots);
    else cast_votes_of(a->p.in_size, a, i, u, votes, count, others, dots);
}

/* Agreements and, with `gradients`, dc behind them -> c^r and db^r of one i. */
static void couple(int64_t outputs, int gradients, real *dots)
{
    real *dc = dots + outputs * V;
    softmax_lines(0, outputs, V, V, dots, dots);
    if (gradients) softmax_gradient_lines(0, outputs, V, V, dc, dots, dc);
}

/* What the tasks of a block of samples work in: dv, votes, agreements and dc. */
static size_t routing_scratch(const routing_args *a)
{
    return (size_t)(2 * a->out + 2 * a->p.outputs * V) * sizeof(real);
}

/* total_j += sum over i of c^r_ij u_ij, or of db^r_ij u_ij. */
static void gather_votes(const routing_args *a, int64_t block, int64_t r, int gradients, real *total, real *votes)
{
    const int64_t outputs = a->p.outputs, width = a->p.out_size * V, in_width = a->p.in_size * V;
    const real *u = a->u + block * a->p.inputs * in_width;
    real *dots = votes + a->out, *factors = gradients ? dots + outputs * V : dots;
    for (int64_t j = 0; !r && j < outputs; j++) vstore(factors + j * V, vset1((real)1 / (real)outputs));
    for (int64_t i = 0; i < a->p.inputs; i++) {
        cast_votes(a, i, u + i * in_width, votes, r ? 1 + gradients : 0, trace_of(a, block, r), dots);
        if (r) couple(outputs, gradients, dots);
        for (int64_t j = 0; j < outputs; j++) {
            const vec factor = vload(factors + j * V);
            for (int64_t k = j * width; k < (j + 1) * width; k += V)
                vstore(total + k, vfma(factor, vload(votes + k), vload(total + k)));
        }
    }
}

/* ---- forward ----------------------------------------------------------------------------------------------------- */

static void run_route_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const routing_args *a = args;
    const int64_t width = a->p.out_size * V;
    for (int64_t block = begin; block < end; block++) {
        real *v = a->v + block * a->out;
        for (int64_t r = 0; r < a->p.iterations; r++) {
            real *s = sums_of(a, block, r), *agreed = trace_of(a, block, r);
            for (int64_t k = 0; k < a->out; k += V) {
                vstore(agreed + k, r ? vload(agreed - 2 * a->out + k) + vload(v + k) : vset1(0));
                vstore(s + k, vset1(0));
            }
            gather_votes(a, block, r, 0, s, scratch);
            for (int64_t k = 0; k < a->out; k += width) squash(a->p.out_size, s + k, V, v + k);
        }
    }
}

static int route_forward(pycnn_step *step, const pycnn_routing *p, const void *u, const void *w, void *sums,
                         void *traces, void *v)
{
    routing_args a = routing_of(p, u, w, sums, traces);
    a.v = v;
    return PREPARE(step, run_route_forward, a.blocks, routing_scratch(&a), a);
}

/* ---- backward, through the iterations ---------------------------------------------------------------------------- */

static void run_route_backward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const routing_args *a = args;
    const int64_t width = a->p.out_size * V, last = a->p.iterations - 1;
    real *passed = scratch, *work = passed + a->out;
    for (int64_t block = begin; block < end; block++) {
        for (int64_t k = 0; k < a->out; k += V) vstore(passed + k, vset1(0));
        for (int64_t r = last; r >= 0; r--) {
            const real *dv = r == last ? a->dv + block * a->out : passed, *s = sums_of(a, block, r);
            real *ds = trace_of(a, block, r) + a->out;
            for (int64_t k = 0; k < a->out; k += width) squash_gradient(a->p.out_size, dv + k, s + k, V, ds + k);
            if (r) gather_votes(a, block, r, 1, passed, work);
        }
    }
}

static int route_backward(pycnn_step *step, const pycnn_routing *p, const void *dv, const void *u, const void *w,
                          const void *sums, void *traces)
{
    routing_args a = routing_of(p, u, w, sums, traces);
    a.dv = dv;
    return PREPARE(step, run_route_backward, a.blocks, routing_scratch(&a), a);
}

/* ---- backward, to capsules and weights --------------------------------------------------------------------------- */

#define ROUTING_GROUP 8         /* blocks of samples whose votes' gradients stay in the second-level cache */

/* votes <- du_ij of one i and all j. */
static void vote_gradients(const routing_args *a, int64_t block, int64_t i, real *votes, real *dots)
{
    const int64_t outputs = a->p.outputs, width = a->p.out_size * V, couples = a->p.iterations - 1;
    const real *first = trace_of(a, block, 0), *later = first + 2 * a->out;
    const vec even = vset1((real)1 / (real)outputs);
    cast_votes(a, i, a->u + (block * a->p.inputs + i) * a->p.in_size * V, votes, 2 * couples, later, dots);
    for (int64_t k = 0; k < a->out; k += V) vstore(votes + k, even * vload(first + a->out + k));
    for (int64_t r = 0; r < couples; r++) {
        const real *agreed = later + 2 * r * a->out, *ds = agreed + a->out;
        real *c = dots + 2 * r * outputs * V, *db = c + outputs * V;
        couple(outputs, 1, c);
        for (int64_t j = 0; j < outputs; j++) {
            const vec cj = vload(c + j * V), dbj = vload(db + j * V);
            for (int64_t k = j * width; k < (j + 1) * width; k += V)
                vstore(votes + k, vfma(cj, vload(ds + k), vfma(dbj, vload(agreed + k), vload(votes + k))));
        }
    }
}

/* A product of m x n vectors, tile by tile: `g` is its first tile. */
static void brgemm_cut_up(int64_t m, int64_t n, brgemm_cut cut, int lanewise, const brgemm_args *g)
{
    for (int64_t it = 0; it < cut.i_parts; it++)
        for (int64_t jt = 0; jt < cut.j_parts; jt++) {
            const int64_t i = part_begin(m, cut.i_parts, it), i_count = part_begin(m, cut.i_parts, it + 1) - i;
            const int64_t j = part_begin(n, cut.j_parts, jt), j_count = part_begin(n, cut.j_parts, jt + 1) - j;
            brgemm_args tile = *g;
            tile.a += i * g->a_i, tile.b += j * g->b_j;
            tile.init += i * g->init_i + j * g->init_j, tile.c += i * g->c_i + j * g->c_j;
            if (lanewise) brgemm_lanewise(i_count, j_count, &tile);
            else brgemm(i_count, j_count, &tile);
        }
}

/* A task is a capsule i, for all samples. */
static void run_route_gradients(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const routing_args *a = args;
    const int64_t rows = a->out / V, size = a->p.in_size, u_block = a->p.inputs * size * V;
    const real zero[V] = {0};
    real *votes = scratch, *sums = votes + a->group * a->out, *dw = sums + rows * size * V;
    real *dots = dw + round_up(rows * size, V) + V;
    for (int64_t i = begin; i < end; i++) {
        for (int64_t block = 0; block < a->blocks; block += a->group) {
            const int64_t count = min64(a->group, a->blocks - block), at = block * u_block + i * size * V;
            const brgemm_run of_rows = {.length = (int32_t)rows}, of_blocks = {.length = (int32_t)count};
            const brgemm_cut cut = {a->capsules_cut.i_parts, min64(count, a->capsules_cut.j_parts)};
            for (int64_t b = 0; b < count; b++) vote_gradients(a, block + b, i, votes + b * a->out, dots);
            if (a->du)
                brgemm_cut_up(size, count, cut, 0, &(brgemm_args){
                    .a = a->w + i * rows * size, .a_i = 1, .a_k = size, .b = votes, .b_j = a->out, .b_k = V,
                    .init = zero, .c = a->du + at, .c_i = V, .c_j = u_block, .runs = &of_rows, .run_count = 1,
                    .floor = -INFINITY});
            if (a->dw)
                brgemm_cut_up(rows, size, a->weights_cut, 1, &(brgemm_args){
                    .a = votes, .a_i = V, .a_k = a->out, .b = a->u + at, .b_j = V, .b_k = u_block,
                    .init = block ? sums : zero, .init_i = block ? size * V : 0, .init_j = block ? V : 0,
                    .c = sums, .c_i = size * V, .c_j = V, .runs = &of_blocks, .run_count = 1, .floor = -INFINITY});
        }
        if (!a->dw) continue;
        real *to = a->dw + i * rows * size;
        sum_lanes(sums, rows * size, a->accumulate ? dw : to);
        for (int64_t k = 0; a->accumulate && k < rows * size; k++) to[k] += dw[k];
    }
}

static int route_gradients(pycnn_step *step, const pycnn_routing *p, int accumulate, const void *u, const void *w,
                           const void *traces, void *du, void *dw)
{
    routing_args a = routing_of(p, u, w, NULL, traces);
    const int64_t rows = a.out / V;
    if (rows > INT32_MAX) return PYCNN_TOO_LARGE;
    a.accumulate = accumulate, a.du = du, a.dw = dw;
    a.group = min64(ROUTING_GROUP, a.blocks);
    a.capsules_cut = brgemm_choose_cut(p->in_size, a.group, rows);
    a.weights_cut = brgemm_choose_cut(rows, p->in_size, a.group);
    const int64_t scratch = a.group * a.out + rows * p->in_size * (V + 1) + 2 * V
                          + 2 * (p->iterations - 1) * p->outputs * V;
    return PREPARE(step, run_route_gradients, p->inputs, (size_t)scratch * sizeof(real), a);
}
