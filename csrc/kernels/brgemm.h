/* The building block: a batch-reduce matrix product on a tile of registers (arXiv:1906.06440).
 *
 *     C[i][j] = max(floor, init[i][j] + sum over runs, sum over k < run.length, A[i][k] B[k][j])
 *
 * B[k][j] and C[i][j] are vectors. A[i][k] is one real for all lanes (`brgemm`), or a vector of its own
 * (`brgemm_lanewise`, for sums over lanes that the caller finishes). All strides are the caller's, so the same tile
 * serves convolutions and matrix products in every layout and direction.
 *
 * A tile of I x J vectors does I J multiply-adds with I + J loads: 24 with 10 for 6 x 4. Multiply-adds bind where I J is
 * at least I + J, and at least 8, so that none waits for the one before it. */
#define TILE_MAX 14             /* of I and of J; I J is at most TILE_VECTORS */

/* Before a run, A and B jump by so many reals from where the run before left them; then it goes on for `length`. */
typedef struct { int32_t a, b, length; } brgemm_run;

typedef struct {
    const real *a, *b, *init;
    real *c;
    int64_t a_i, a_k, b_j, b_k, init_i, init_j, c_i, c_j;
    const brgemm_run *runs;
    int64_t run_count;
    real floor;             /* 0 makes a ReLU of it, -INFINITY leaves it alone */
} brgemm_args;

/* The operands of a tile's shorter side stay in registers for a step; those of the longer come and go. */
INLINE void brgemm_tile(const int I, const int J, const int lanewise, const brgemm_args *g)
{
    vec acc[TILE_MAX][TILE_MAX], held[TILE_MAX];
    const int64_t a_i = g->a_i, a_k = g->a_k, b_j = g->b_j, b_k = g->b_k, init_i = g->init_i, init_j = g->init_j;
    const int near = J > 8 ? (J + 1) / 2 : J;       /* further columns have an address of their own, and so few offsets do */
#pragma GCC unroll 14
    for (int i = 0; i < I; i++)
#pragma GCC unroll 14
        for (int j = 0; j < J; j++) acc[i][j] = vload(g->init + i * init_i + j * init_j);

    const real *a = g->a, *b = g->b;
    for (const brgemm_run *run = g->runs, *end = run + g->run_count; run < end; run++) {
        a += run->a, b += run->b;
        const real *b_far = b + near * b_j;
        if (near < J) __asm__("" : "+r"(b_far));        /* unknown to be at an offset from b */
        for (int32_t k = run->length; k > 0; k--, a += a_k, b += b_k, b_far += b_k) {
#define A_OF(i) (lanewise ? vload(a + (i) * a_i) : vset1(a[(i) * a_i]))
#define B_OF(j) ((j) < near ? vload(b + (j) * b_j) : vload(b_far + ((j) - near) * b_j))
            if (I < J) {
#pragma GCC unroll 14
                for (int i = 0; i < I; i++) held[i] = vheld(A_OF(i));
#pragma GCC unroll 14
                for (int j = 0; j < J; j++) {
                    const vec bj = I > 1 ? vheld(B_OF(j)) : B_OF(j);
#pragma GCC unroll 14
                    for (int i = 0; i < I; i++) acc[i][j] = vfma(held[i], bj, acc[i][j]);
                }
            } else {
#pragma GCC unroll 14
                for (int j = 0; j < J; j++) held[j] = vheld(B_OF(j));
#pragma GCC unroll 14
                for (int i = 0; i < I; i++) {
                    const vec ai = J > 1 ? vheld(A_OF(i)) : A_OF(i);
#pragma GCC unroll 14
                    for (int j = 0; j < J; j++) acc[i][j] = vfma(ai, held[j], acc[i][j]);
                }
            }
#undef A_OF
#undef B_OF
        }
    }
    const vec floor = vset1(g->floor);
    real *c = g->c;
    const int64_t c_i = g->c_i, c_j = g->c_j;
#pragma GCC unroll 14
    for (int i = 0; i < I; i++)
#pragma GCC unroll 14
        for (int j = 0; j < J; j++) vstore(c + i * c_i + j * c_j, vmax(floor, acc[i][j]));
}

typedef void brgemm_function(const brgemm_args *);

#define TILES_OF_ROW(M, I)                                                                                             \
    M(I, 1) M(I, 2) M(I, 3) M(I, 4) M(I, 5) M(I, 6) M(I, 7) M(I, 8) M(I, 9) M(I, 10) M(I, 11) M(I, 12) M(I, 13) M(I, 14)
#define TILES(M)                                                                                                       \
    TILES_OF_ROW(M, 1) TILES_OF_ROW(M, 2) TILES_OF_ROW(M, 3) TILES_OF_ROW(M, 4) TILES_OF_ROW(M, 5)                     \
    TILES_OF_ROW(M, 6) TILES_OF_ROW(M, 7) TILES_OF_ROW(M, 8) TILES_OF_ROW(M, 9) TILES_OF_ROW(M, 10)                    \
    TILES_OF_ROW(M, 11) TILES_OF_ROW(M, 12) TILES_OF_ROW(M, 13) TILES_OF_ROW(M, 14)

#define DEFINE_TILE(I, J)                                                                                              \
    static void brgemm_##I##x##J(const brgemm_args *g) { brgemm_tile(I, J, 0, g); }                                    \
    static void brgemm_lanewise_##I##x##J(const brgemm_args *g) { brgemm_tile(I, J, 1, g); }
TILES(DEFINE_TILE)

/* Tiles that are too large for the registers stand in neither table, and so are not compiled. */
#define NAME_TILE(I, J) (I) * (J) <= TILE_VECTORS ? brgemm_##I##x##J : NULL,
#define NAME_LANEWISE_TILE(I, J) (I) * (J) <= TILE_VECTORS ? brgemm_lanewise_##I##x##J : NULL,
static brgemm_function *const brgemm_tiles[TILE_MAX * TILE_MAX] = {TILES(NAME_TILE)};
static brgemm_function *const brgemm_lanewise_tiles[TILE_MAX * TILE_MAX] = {TILES(NAME_LANEWISE_TILE)};

INLINE void brgemm(int64_t i, int64_t j, const brgemm_args *g) { brgemm_tiles[(i - 1) * TILE_MAX + j - 1](g); }
INLINE void brgemm_lanewise(int64_t i, int64_t j, const brgemm_args *g)
{
    brgemm_lanewise_tiles[(i - 1) * TILE_MAX + j - 1](g);
}

/* Asks for the memory of an i x j tile that will be stored, so that the stores do not wait for it. */
INLINE void brgemm_fetch(int64_t i, int64_t j, const brgemm_args *g)
{
    for (int64_t row = 0; row < i; row++)
        for (int64_t column = 0; column < j; column++) __builtin_prefetch(g->c + row * g->c_i + column * g->c_j, 1);
}

/* Into how many almost equal parts the two sides of an m x n block of vectors are cut. */
typedef struct { int64_t i_parts, j_parts; } brgemm_cut;

/* Cycles of one k step of a tile: two multiply-adds and two loads a cycle, four cycles from one to its successor. A vector
   of B counts as three loads, as it may come from the second-level cache. A tile that needs more registers than there are,
   with those of its operands, loads some of these again. */
INLINE double tile_cycles(int64_t i, int64_t j)
{
    const double spilled = i * j + min64(i, j) > TILE_VECTORS + 3 ? 1.08 : 1;
    return 0.5 * spilled * (double)max64(max64(i * j, i + 3 * j), 8);
}

/* Cycles that a tile takes beside its steps: the call, the first loads and the last stores. */
#define TILE_CYCLES 30

/* The cut of m x n with the fewest cycles over `depth` steps. */
static brgemm_cut brgemm_choose_cut(int64_t m, int64_t n, int64_t depth)
{
    brgemm_cut best = {m, n};
    double best_cycles = INFINITY;
    for (int64_t i = 1; i <= TILE_MAX; i++)
        for (int64_t j = 1; j <= TILE_MAX && i * j <= TILE_VECTORS; j++) {
            int64_t ip = ceil_div(m, i), jp = ceil_div(n, j), tiles[2][2];
            int64_t i_low = m / ip, i_more = m % ip, j_low = n / jp, j_more = n % jp;
            double cycles = 0;
            for (int a = 0; a < 2; a++)
                for (int b = 0; b < 2; b++) {
                    tiles[a][b] = (a ? i_more : ip - i_more) * (b ? j_more : jp - j_more);
                    if (!tiles[a][b]) continue;
                    cycles += (double)tiles[a][b]
                            * (tile_cycles(i_low + a, j_low + b) * (double)depth + TILE_CYCLES);
                }
            if (cycles < best_cycles) best_cycles = cycles, best = (brgemm_cut){ip, jp};
        }
    return best;
}
