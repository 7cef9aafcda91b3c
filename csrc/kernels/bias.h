/* A bias of its own for each value of a sample: y_ni = f(x_ni + b_i), as behind the last layer of Maddison et al. 2014
 * (arXiv:1412.6564), where i is a point of the board.
 *
 *     dx = dy,    db_i = sum over n of dy_ni
 *
 * A batch is rows of vectors: in PLAIN a row is a sample, in SAMPLES a block of V samples, each of whose vectors belongs to
 * one i. What has its lanes in channels comes as PLAIN, with a bias in the same order. Bound by memory. */
typedef struct {
    int samples;                    /* whether lanes are */
    int64_t rows, elements;         /* biases: values of a sample */
    int64_t row_size, vectors;      /* reals and vectors of a row */
    int64_t task_rows, task_vectors, row_tasks, vector_tasks;
    pycnn_activation activation;
    int accumulate;
    const real *x, *b, *dy;
    real *y, *db;
} bias_args;

enum { BIAS_COLUMNS = 4 };          /* vectors side by side that are summed at a time */

static bias_args bias_of(pycnn_layout layout, int64_t n, int64_t elements)
{
    const int samples = layout == PYCNN_SAMPLES;
    return (bias_args){.samples = samples, .rows = samples ? ceil_div(n, V) : n, .elements = elements,
                       .row_size = samples ? elements * V : elements,
                       .vectors = samples ? elements : ceil_div(elements, V)};
}

/* Cuts the work into tasks of whole rows, or of parts of one where rows are long. */
static int64_t cut_bias_rows(bias_args *a)
{
    const int64_t most = ELEMENTS_PER_TASK / V;
    a->task_vectors = min64(a->vectors, most);
    a->task_rows = max64(1, most / a->task_vectors);
    a->vector_tasks = ceil_div(a->vectors, a->task_vectors), a->row_tasks = ceil_div(a->rows, a->task_rows);
    return a->row_tasks * a->vector_tasks;
}

/* Reals of vector j of a row that are there. */
INLINE int64_t bias_lanes(const bias_args *a, int64_t j) { return a->samples ? V : min64(V, a->elements - j * V); }

INLINE vec bias_vector(const bias_args *a, int64_t j, int64_t lanes)
{
    return a->samples ? vset1(a->b[j]) : vload_upto(a->b + j * V, lanes);
}

static void run_bias_forward(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const bias_args *a = args;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t first = task % a->vector_tasks * a->task_vectors, last = min64(first + a->task_vectors, a->vectors);
        const int64_t row = task / a->vector_tasks * a->task_rows, row_end = min64(row + a->task_rows, a->rows);
        const int64_t whole = last - (bias_lanes(a, last - 1) < V);
        for (int64_t r = row; r < row_end; r++) {
            const real *x = a->x + r * a->row_size;
            real *y = a->y + r * a->row_size;
            for (int64_t j = first; j < whole; j++) vstore(y + j * V, vload(x + j * V) + bias_vector(a, j, V));
            for (int64_t j = whole; j < last; j++) {
                const int64_t lanes = bias_lanes(a, j);
                vstore_upto(y + j * V, vload_upto(x + j * V, lanes) + bias_vector(a, j, lanes), lanes);
            }
            activate(a->activation, y + first * V, min64(last * V, a->row_size) - first * V);
        }
    }
}

static int bias_forward(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t elements, pycnn_activation activation,
                        const void *x, const void *b, void *y)
{
    bias_args a = bias_of(layout, n, elements);
    a.activation = activation, a.x = x, a.b = b, a.y = y;
    const int64_t tasks = cut_bias_rows(&a);
    return PREPARE(step, run_bias_forward, tasks, 0, a);
}

/* Stores or adds the sums of vector j. */
INLINE void put_bias(const bias_args *a, int64_t j, vec sums, int64_t lanes)
{
    if (a->samples) {
        a->db[j] = vsum_lanes(sums) + (a->accumulate ? a->db[j] : 0);
    } else {
        if (a->accumulate) sums += vload_upto(a->db + j * V, lanes);
        vstore_upto(a->db + j * V, sums, lanes);
    }
}

static void run_bias_backward_weights(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const bias_args *a = args;
    (void)scratch;
    for (int64_t task = begin; task < end; task++) {
        const int64_t last = min64((task + 1) * a->task_vectors, a->vectors);
        const int64_t whole = last - (bias_lanes(a, last - 1) < V);
        int64_t j = task * a->task_vectors;
        for (; j + BIAS_COLUMNS <= whole; j += BIAS_COLUMNS) {
            vec sums[BIAS_COLUMNS] = {{0}};
            for (int64_t r = 0; r < a->rows; r++)
                for (int c = 0; c < BIAS_COLUMNS; c++) sums[c] += vload(a->dy + r * a->row_size + (j + c) * V);
            for (int c = 0; c < BIAS_COLUMNS; c++) put_bias(a, j + c, sums[c], V);
        }
        for (; j < last; j++) {
            const int64_t lanes = bias_lanes(a, j);
            vec sums = vset1(0);
            for (int64_t r = 0; r < a->rows; r++) sums += vload_upto(a->dy + r * a->row_size + j * V, lanes);
            put_bias(a, j, sums, lanes);
        }
    }
}

static int bias_backward_weights(pycnn_step *step, pycnn_layout layout, int64_t n, int64_t elements, int accumulate,
                                 const void *dy, void *db)
{
    bias_args a = bias_of(layout, n, elements);
    a.accumulate = accumulate, a.dy = dy, a.db = db;
    a.task_vectors = round_up(max64(1, ELEMENTS_PER_TASK / V / max64(1, a.rows)), BIAS_COLUMNS);
    return PREPARE(step, run_bias_backward_weights, ceil_div(a.vectors, a.task_vectors), 0, a);
}
