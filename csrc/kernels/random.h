/* Random draws, and what layers make of them: dropout and noise.
 *
 * Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3") turns a counter of
 * four words and a key of two into four random words. The draw i of sample n is
 *
 *     word n % 4 of philox(counter = (i, n / 4, stream, run), key)
 *
 * so it depends on nothing but these numbers: no layout, batch size, instruction set or number of threads. `i` is the
 * place in the sample, c S + s, or the channel where a whole map shares a draw. A draw w of 32 bits becomes
 *
 *     dropout             y = 0 if w < p 2^32, else scale x
 *     Gaussian noise      y = x + deviation sqrt(-2 log u) (cos or sin)(2 pi u')      (Box & Muller 1958)
 *
 * with u and u' of the words of two neighbouring samples. A task draws for four samples, or for those of a vector, so
 * that no word is made in vain; values made in rows, one a sample, become lanes by transposition. */

#define DRAWS 64                /* in a row; each for four samples */
#define QUAD 4

typedef enum { DROPOUT, GAUSSIAN_NOISE } random_kind;

typedef struct {
    random_kind kind;
    pycnn_layout layout;
    int64_t n, c, s, draws;     /* draws of a sample */
    int maps;                   /* whether a map shares a draw */
    uint32_t threshold, stream;
    real amount;                /* scale of dropout, deviation of noise */
    pycnn_state_slot state;
    const real *x;
    real *y;
} random_args;

/* The four words of the counters (first + i, quad, stream, run), i < n. */
static void philox(const uint64_t state[2], uint32_t stream, uint32_t quad, uint32_t first, int64_t n,
                   uint32_t words[QUAD][DRAWS])
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t c0 = first + (uint32_t)i, c1 = quad, c2 = stream, c3 = (uint32_t)state[1];
        uint32_t k0 = (uint32_t)state[0], k1 = (uint32_t)(state[0] >> 32);
#pragma GCC unroll 10
        for (int round = 0; round < 10; round++) {
            const uint64_t a = (uint64_t)0xD2511F53 * c0, b = (uint64_t)0xCD9E8D57 * c2;
            c0 = (uint32_t)(b >> 32) ^ c1 ^ k0, c1 = (uint32_t)b;
            c2 = (uint32_t)(a >> 32) ^ c3 ^ k1, c3 = (uint32_t)a;
            k0 += 0x9E3779B9, k1 += 0xBB67AE85;
        }
        words[0][i] = c0, words[1][i] = c1, words[2][i] = c2, words[3][i] = c3;
    }
}

/* Two words to two values of the normal distribution. */
static void normal_values(const uint32_t *w, const uint32_t *w2, real deviation, int64_t n, real *a, real *b)
{
    real u[DRAWS + V], t[DRAWS + V];
    for (int64_t i = 0; i < n; i++) {
        u[i] = (real)w[i] * (real)0x1p-32 + (real)0x1p-33;
        t[i] = (real)(int32_t)w2[i] * (real)0x1p-32;
    }
    for (int64_t i = n; i < round_up(n, V); i++) u[i] = 1, t[i] = 0;
    for (int64_t i = 0; i < n; i += V) {
        vec sine, cosine;
        vsincos_of_turns(vload(t + i), &sine, &cosine);
        const vec radius = vset1(deviation) * vsqrt(vmax(vset1(0), vset1(-2) * vlog(vload(u + i))));
        vstore_upto(a + i, radius * cosine, n - i);
        vstore_upto(b + i, radius * sine, n - i);
    }
}

/* The values of draws first .. first+n-1 of the samples 4 quad .. 4 quad+3: factors of dropout, or noise. */
static void draw_values(const random_args *r, int64_t quad, int64_t first, int64_t n, real values[QUAD][DRAWS])
{
    uint32_t words[QUAD][DRAWS];
    philox(*r->state, r->stream, (uint32_t)quad, (uint32_t)first, n, words);
    if (r->kind == DROPOUT) {
        const uint32_t threshold = r->threshold;
        const real scale = r->amount;
        for (int j = 0; j < QUAD; j++)
            for (int64_t i = 0; i < n; i++) values[j][i] = words[j][i] < threshold ? 0 : scale;
    } else {
        normal_values(words[0], words[1], r->amount, n, values[0], values[1]);
        normal_values(words[2], words[3], r->amount, n, values[2], values[3]);
    }
}

/* What is dropped is 0, whatever it was. */
INLINE vec with_value(const random_kind kind, vec x, vec value)
{
    return kind == DROPOUT ? vselect(veq(value, vset1(0)), value, x * value) : x + value;
}

/* y[i] = x[i] with values[i] */
INLINE void each_its_own(const random_kind kind, const real *x, const real *values, int64_t n, real *y)
{
    for (int64_t i = 0; i < n; i += V)
        vstore_upto(y + i, with_value(kind, vload_upto(x + i, n - i), vload_upto(values + i, n - i)), n - i);
}

/* All of x with one value, or with one for each lane. */
INLINE void all_the_same(const random_kind kind, const real *x, vec value, int64_t n, real *y)
{
    for (int64_t i = 0; i < n; i += V) vstore_upto(y + i, with_value(kind, vload_upto(x + i, n - i), value), n - i);
}

INLINE int64_t random_tasks(const random_args *r)
{
    switch (r->layout) {
    case PYCNN_SAMPLES: return ceil_div(r->n, V) * ceil_div(r->draws, DRAWS);
    case PYCNN_CHANNELS: return ceil_div(r->n, QUAD) * ceil_div(r->c, V) * (r->maps ? 1 : ceil_div(r->s, DRAWS));
    default: return ceil_div(r->n, QUAD) * ceil_div(r->draws, DRAWS);
    }
}

/* Four samples of a plain array. */
INLINE void random_plain(const random_kind kind, const random_args *r, int64_t quad, int64_t first)
{
    real values[QUAD][DRAWS];
    const int64_t m = min64(DRAWS, r->draws - first);
    draw_values(r, quad, first, m, values);
    for (int64_t j = 0; j < QUAD && quad * QUAD + j < r->n; j++) {
        const int64_t at = (quad * QUAD + j) * r->c * r->s + first * (r->maps ? r->s : 1);
        if (!r->maps) each_its_own(kind, r->x + at, values[j], m, r->y + at);
        else
            for (int64_t c = 0; c < m; c++)
                all_the_same(kind, r->x + at + c * r->s, vset1(values[j][c]), r->s, r->y + at + c * r->s);
    }
}

/* The samples of a vector. */
INLINE void random_samples(const random_kind kind, const random_args *r, int64_t block, int64_t first)
{
    real values[V > QUAD ? V : QUAD][DRAWS], lanes[DRAWS * V];
    const real *rows[V];
    const int64_t m = min64(DRAWS, r->draws - first), sample = block * V;
    for (int64_t j = 0; j < V; j += QUAD) draw_values(r, (sample + j) / QUAD, first, m, values + j);
    for (int64_t l = 0; l < V; l++) rows[l] = values[V < QUAD ? sample % QUAD + l : l];
    rows_to_lanes(rows, m, lanes);
    const int64_t at = (block * r->draws + first) * V * (r->maps ? r->s : 1);
    if (!r->maps) each_its_own(kind, r->x + at, lanes, m * V, r->y + at);
    else
        for (int64_t c = 0; c < m; c++)
            all_the_same(kind, r->x + at + c * r->s * V, vload(lanes + c * V), r->s * V, r->y + at + c * r->s * V);
}

/* The channels of a vector, of four samples. */
INLINE void random_channels(const random_kind kind, const random_args *r, int64_t quad, int64_t block, int64_t first)
{
    real values[V][QUAD][DRAWS], lanes[DRAWS * V];
    const int64_t m = r->maps ? V : min64(DRAWS, r->s - first), blocks = ceil_div(r->c, V);
    if (r->maps) draw_values(r, quad, block * V, V, values[0]);
    else
        for (int64_t l = 0; l < V; l++) draw_values(r, quad, (block * V + l) * r->s + first, m, values[l]);
    for (int64_t j = 0; j < QUAD && quad * QUAD + j < r->n; j++) {
        const int64_t at = (((quad * QUAD + j) * blocks + block) * r->s + first) * V;
        if (r->maps) {
            all_the_same(kind, r->x + at, vload(values[0][j]), r->s * V, r->y + at);
            continue;
        }
        const real *rows[V];
        for (int64_t l = 0; l < V; l++) rows[l] = values[l][j];
        rows_to_lanes(rows, m, lanes);
        each_its_own(kind, r->x + at, lanes, m * V, r->y + at);
    }
}

INLINE void random_task(const random_kind kind, const random_args *r, int64_t task)
{
    const int64_t pieces = ceil_div(r->layout != PYCNN_CHANNELS ? r->draws : r->maps ? 1 : r->s, DRAWS);
    const int64_t first = task % pieces * DRAWS, group = task / pieces, blocks = ceil_div(r->c, V);
    if (r->layout == PYCNN_PLAIN) random_plain(kind, r, group, first);
    else if (r->layout == PYCNN_SAMPLES) random_samples(kind, r, group, first);
    else random_channels(kind, r, group / blocks, group % blocks, first);
}

static void run_dropout(const void *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t task = begin; task < end; task++) random_task(DROPOUT, args, task);
}

static void run_gaussian_noise(const void *args, int64_t begin, int64_t end, void *scratch)
{
    (void)scratch;
    for (int64_t task = begin; task < end; task++) random_task(GAUSSIAN_NOISE, args, task);
}

static int dropout(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t s, int maps, double p,
                   double scale, uint32_t stream, pycnn_state_slot state, const void *x, void *y)
{
    const random_args r = {.kind = DROPOUT, .layout = layout, .n = n, .c = c, .s = s, .draws = maps ? c : c * s,
                           .maps = maps, .threshold = (uint32_t)(p * 0x1p32), .stream = stream, .amount = (real)scale,
                           .state = state, .x = x, .y = y};
    return PREPARE(step, run_dropout, random_tasks(&r), 0, r);
}

static int gaussian_noise(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t c, int64_t s, double deviation,
                          uint32_t stream, pycnn_state_slot state, const void *x, void *y)
{
    const random_args r = {.kind = GAUSSIAN_NOISE, .layout = layout, .n = n, .c = c, .s = s, .draws = c * s,
                           .stream = stream, .amount = (real)deviation, .state = state, .x = x, .y = y};
    return PREPARE(step, run_gaussian_noise, random_tasks(&r), 0, r);
}
