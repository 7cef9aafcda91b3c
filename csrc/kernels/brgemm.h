/* The building block: a batch-reduce matrix product on a tile of registers (arXiv:1906.06440).
 *
 *     C[i][j] = max(floor, init[i][j] + sum over runs, sum over k < run.length, A[i][k] B[k][j])
 *
 * B[k][j] and C[i][j] are vectors. A[i][k] is one real for all lanes (`brgemm`), or a vector of its own
 * (`brgemm_lanewise`, for sums over lanes that the caller finishes). All strides are the caller's, so the same tile
 * serves convolutions and matrix products in every layout and direction.
 *
 * A tile of I x J vectors does I J multiply-adds with I + J loads: 24 with 10 for 6 x 4. */
#define TILE_MAX_I 14
#define TILE_MAX_J 6

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

INLINE void brgemm_tile(const int I, const int J, const int lanewise, const brgemm_args *g)
{
    if (I * J > TILE_VECTORS) return;
    vec acc[TILE_VECTORS][TILE_MAX_J];
    const int64_t a_i = g->a_i, a_k = g->a_k, b_j = g->b_j, b_k = g->b_k;
#pragma GCC unroll 14
    for (int i = 0; i < I; i++)
#pragma GCC unroll 6
        for (int j = 0; j < J; j++) acc[i][j] = vload(g->init + i * g->init_i + j * g->init_j);

    const real *a = g->a, *b = g->b;
    for (const brgemm_run *run = g->runs, *end = run + g->run_count; run < end; run++) {
        a += run->a, b += run->b;
        for (int32_t k = run->length; k > 0; k--, a += a_k, b += b_k) {
            vec bk[TILE_MAX_J];
#pragma GCC unroll 6
            for (int j = 0; j < J; j++) bk[j] = vload(b + j * b_j);
#pragma GCC unroll 14
            for (int i = 0; i < I; i++) {
                vec aik = lanewise ? vload(a + i * a_i) : vset1(a[i * a_i]);
#pragma GCC unroll 6
                for (int j = 0; j < J; j++) acc[i][j] = vfma(aik, bk[j], acc[i][j]);
            }
        }
    }
    const vec floor = vset1(g->floor);
#pragma GCC unroll 14
    for (int i = 0; i < I; i++)
#pragma GCC unroll 6
        for (int j = 0; j < J; j++) vstore(g->c + i * g->c_i + j * g->c_j, vmax(floor, acc[i][j]));
}

typedef void brgemm_function(const brgemm_args *);

#define TILES_OF_ROW(M, I) M(I, 1) M(I, 2) M(I, 3) M(I, 4) M(I, 5) M(I, 6)
#define TILES(M)                                                                                                       \
    TILES_OF_ROW(M, 1) TILES_OF_ROW(M, 2) TILES_OF_ROW(M, 3) TILES_OF_ROW(M, 4) TILES_OF_ROW(M, 5)                     \
    TILES_OF_ROW(M, 6) TILES_OF_ROW(M, 7) TILES_OF_ROW(M, 8) TILES_OF_ROW(M, 9) TILES_OF_ROW(M, 10)                    \
    TILES_OF_ROW(M, 11) TILES_OF_ROW(M, 12) TILES_OF_ROW(M, 13) TILES_OF_ROW(M, 14)

#define DEFINE_TILE(I, J)                                                                                              \
    static void brgemm_##I##x##J(const brgemm_args *g) { brgemm_tile(I, J, 0, g); }                                    \
    static void brgemm_lanewise_##I##x##J(const brgemm_args *g) { brgemm_tile(I, J, 1, g); }
TILES(DEFINE_TILE)

#define NAME_TILE(I, J) brgemm_##I##x##J,
#define NAME_LANEWISE_TILE(I, J) brgemm_lanewise_##I##x##J,
static brgemm_function *const brgemm_tiles[TILE_MAX_I * TILE_MAX_J] = {TILES(NAME_TILE)};
static brgemm_function *const brgemm_lanewise_tiles[TILE_MAX_I * TILE_MAX_J] = {TILES(NAME_LANEWISE_TILE)};

INLINE void brgemm(int64_t i, int64_t j, const brgemm_args *g) { brgemm_tiles[(i - 1) * TILE_MAX_J + j - 1](g); }
INLINE void brgemm_lanewise(int64_t i, int64_t j, const brgemm_args *g)
{
    brgemm_lanewise_tiles[(i - 1) * TILE_MAX_J + j - 1](g);
}

/* Into how many almost equal parts the two sides of an m x n block of vectors are cut. */
typedef struct { int64_t i_parts, j_parts; } brgemm_cut;

/* Cycles of one k step of a tile: two multiply-adds and two loads a cycle, four cycles from one to its successor. */
INLINE double tile_cycles(int64_t i, int64_t j) { return 0.5 * (double)max64(max64(i * j, i + j), 8); }

/* The cut of m x n with the fewest cycles over `depth` steps; a tile's prologue and epilogue count as well. */
static brgemm_cut brgemm_choose_cut(int64_t m, int64_t n, int64_t depth)
{
    brgemm_cut best = {m, n};
    double best_cycles = INFINITY;
    for (int64_t i = 1; i <= TILE_MAX_I; i++)
        for (int64_t j = 1; j <= TILE_MAX_J && i * j <= TILE_VECTORS; j++) {
            int64_t ip = ceil_div(m, i), jp = ceil_div(n, j), tiles[2][2];
            int64_t i_low = m / ip, i_more = m % ip, j_low = n / jp, j_more = n % jp;
            double cycles = 0;
            for (int a = 0; a < 2; a++)
                for (int b = 0; b < 2; b++) {
                    tiles[a][b] = (a ? i_more : ip - i_more) * (b ? j_more : jp - j_more);
                    if (!tiles[a][b]) continue;
                    double once = 20 + 2.0 * (double)((i_low + a) * (j_low + b));
                    cycles += (double)tiles[a][b]
                            * (tile_cycles(i_low + a, j_low + b) * (double)depth + once);
                }
            if (cycles < best_cycles) best_cycles = cycles, best = (brgemm_cut){ip, jp};
        }
    return best;
}
