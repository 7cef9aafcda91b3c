/* Results that are larger than the caches are written past them: a plain store first reads the line that it
 * overwrites, and drives out another that somebody may still want.
 *
 *     plain    read x, read y, write y          streamed   read x, write y
 *
 * Streamed stores want whole lines, so what a kernel makes in odd pieces is gathered in scratch first and copied
 * out. */

#define FAR_BYTES ((int64_t)24 << 20)       /* read and written together: more than a share of the last cache holds */
#define LINE (64 / (int64_t)sizeof(real))   /* reals of a cache line */

/* Whether a kernel that moves so many reals should stream its result, */
INLINE int is_far(int64_t reals) { return reals * (int64_t)sizeof(real) > FAR_BYTES; }

/* and whether it can do so straight to `to`. */
INLINE int is_streamable(const void *to, int64_t reals) { return is_far(reals) && (uintptr_t)to % VECTOR_BYTES == 0; }

/* Stores a vector, or its first min(n, V) lanes, past the caches where `streamed`. */
INLINE void vput(const int streamed, real *p, vec a)
{
    if (streamed) vstream(p, a);
    else vstore(p, a);
}

INLINE void vput_upto(const int streamed, real *p, vec a, int64_t n)
{
    if (n >= V) vput(streamed, p, a);
    else vstore_first(p, a, n);
}

/* What a task will read, asked for while the one before it computes: the processor's own prefetching ends with every
   page, and a kernel that does more than to copy would wait there. */
typedef struct { const char *begin; int64_t bytes; } fetch_list;

/* Asks for the i-th of `parts` parts. */
INLINE void fetch_part(const fetch_list *f, int64_t i, int64_t parts)
{
    const int64_t end = part_begin(f->bytes, parts, i + 1);
    for (int64_t b = part_begin(f->bytes, parts, i); b < end; b += 64) __builtin_prefetch(f->begin + b);
}

/* to[i] = from[i] for i < n, past the caches. */
static void stream_reals(real *to, const real *from, int64_t n)
{
    const int64_t head = min64(n, (int64_t)(-(uintptr_t)to % 64 / sizeof(real)));
    int64_t i = 0;
    for (; i < head; i += V) vstore_upto(to + i, vload_upto(from + i, head - i), head - i);
    for (i = head; i + LINE <= n; i += LINE)
        for (int64_t j = 0; j < LINE; j += V) vstream(to + i + j, vload(from + i + j));
    for (; i < n; i += V) vstore_upto(to + i, vload_upto(from + i, n - i), n - i);
}

/* The same for bytes in multiples of a real's. */
INLINE void stream_bytes(void *to, const void *from, int64_t bytes)
{
    stream_reals(to, from, bytes / (int64_t)sizeof(real));
}

/* ---- the measure ------------------------------------------------------------------------------------------------- */

/* Reads x and writes y, a little of both in turn, and does nothing else: what any kernel with that traffic can reach at
   most. */
typedef struct {
    int64_t reads, writes, tasks;
    pycnn_stores stores;
    const real *x;
    real *y;
} traffic_args;

/* The vectors of x of this task before each four of y. */
INLINE void run_traffic_task(const traffic_args *t, const pycnn_stores stores, int64_t task)
{
    const int64_t reads = t->reads / (4 * V), writes = t->writes / (4 * V);
    const int64_t from = part_begin(reads, t->tasks, task), to = part_begin(reads, t->tasks, task + 1);
    const int64_t begin = part_begin(writes, t->tasks, task), end = part_begin(writes, t->tasks, task + 1);
    const double step = (double)(to - from) / (double)max64(1, end - begin);
    const real *x = t->x + from * 4 * V, *last = t->x + to * 4 * V;
    vec sum[4] = {vset1(0), vset1(0), vset1(0), vset1(0)};
    double ahead = 0;
    for (int64_t i = begin; i < end; i++) {
        const real *until = i + 1 < end ? t->x + (from + (int64_t)(ahead += step)) * 4 * V : last;
        for (; x < until; x += 4 * V)
            for (int k = 0; k < 4; k++) sum[k] += vload(x + k * V);
        real *y = t->y + i * 4 * V;
        for (int k = 0; k < 4; k++)
            if (stores == PYCNN_STREAMED) vstream(y + k * V, sum[k]);
            else vstore(y + k * V, stores == PYCNN_IN_PLACE ? sum[k] + vload(y + k * V) : sum[k]);
    }
}

static void run_traffic(const void *args, int64_t begin, int64_t end, void *scratch)
{
    const traffic_args *t = args;
    (void)scratch;
    for (int64_t task = begin; task < end; task++)
        if (t->stores == PYCNN_STREAMED) run_traffic_task(t, PYCNN_STREAMED, task);
        else if (t->stores == PYCNN_IN_PLACE) run_traffic_task(t, PYCNN_IN_PLACE, task);
        else run_traffic_task(t, PYCNN_PLAIN_STORES, task);
    stream_fence();
}

static int traffic(pycnn_step *step, int64_t reads, int64_t writes, pycnn_stores stores, const void *x, void *y)
{
    traffic_args t = {.reads = reads, .writes = writes, .stores = stores, .x = x, .y = y};
    t.tasks = max64(1, (reads + writes) * (int64_t)sizeof(real) / 16384);
    return PREPARE(step, run_traffic, t.tasks, 0, t);
}
