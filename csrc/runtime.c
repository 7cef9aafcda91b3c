/* Which variant runs on this CPU, and how a list of steps is run on several threads. */
#include "pycnn.h"

#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

/* ---- variants ---------------------------------------------------------------------------------------------- */

extern const pycnn_kernels pycnn_kernels_generic_f32, pycnn_kernels_generic_f64;
#if defined(__x86_64__)
extern const pycnn_kernels pycnn_kernels_avx512_f32, pycnn_kernels_avx512_f64;
extern const pycnn_kernels pycnn_kernels_avx2_f32, pycnn_kernels_avx2_f64;

static int has_avx2(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static int has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw")
        && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
#elif defined(__aarch64__)
extern const pycnn_kernels pycnn_kernels_neon_f32, pycnn_kernels_neon_f64;
#endif
static int always(void) { return 1; }

/* Best first. */
static const struct {
    const char *isa;
    int (*supported)(void);
    const pycnn_kernels *f32, *f64;
} variants[] = {
#if defined(__x86_64__)
    {"avx512", has_avx512, &pycnn_kernels_avx512_f32, &pycnn_kernels_avx512_f64},
    {"avx2", has_avx2, &pycnn_kernels_avx2_f32, &pycnn_kernels_avx2_f64},
#elif defined(__aarch64__)
    {"neon", always, &pycnn_kernels_neon_f32, &pycnn_kernels_neon_f64},
#endif
    {"generic", always, &pycnn_kernels_generic_f32, &pycnn_kernels_generic_f64},
};
enum { VARIANTS = sizeof variants / sizeof *variants };

const char *pycnn_best_isa(void)
{
    int i = 0;
    while (!variants[i].supported()) i++;
    return variants[i].isa;
}

const pycnn_kernels *pycnn_kernels_for(const char *isa, size_t real_size)
{
    for (int i = 0; i < VARIANTS; i++)
        if (!strcmp(variants[i].isa, isa) && variants[i].supported())
            return real_size == 4 ? variants[i].f32 : real_size == 8 ? variants[i].f64 : NULL;
    return NULL;
}

/* ---- denormals: flushed to zero while kernels run ------------------------------------------------------------ */

#if defined(__x86_64__)
static unsigned flush_denormals(void)
{
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode | 0x8040);      /* FTZ: results; DAZ: operands */
    return mode;
}
static void restore_denormals(unsigned mode) { _mm_setcsr(mode); }
#elif defined(__aarch64__)
static uint64_t flush_denormals(void)
{
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | (UINT64_C(1) << 24)));
    return mode;
}
static void restore_denormals(uint64_t mode) { __asm__ volatile("msr fpcr, %0" : : "r"(mode)); }
#else
static int flush_denormals(void) { return 0; }
static void restore_denormals(int mode) { (void)mode; }
#endif

/* ---- running ---------------------------------------------------------------------------------------------------- */

/* The share of thread `t`: the same tasks in every step, so that what it wrote is still in its cache. The first thread has
   the only task of a step with one. */
static void run_share(const pycnn_step *s, int t, int threads, void *scratch)
{
    int64_t begin = (s->tasks * t + threads - 1) / threads, end = (s->tasks * (t + 1) + threads - 1) / threads;
    if (begin < end) s->run(s->args, begin, end, scratch);
}

static void run_alone(const pycnn_step *steps, int64_t count, void *scratch)
{
    __auto_type mode = flush_denormals();
    for (int64_t i = 0; i < count; i++)
        if (steps[i].tasks) steps[i].run(steps[i].args, 0, steps[i].tasks, scratch);
    restore_denormals(mode);
}

#ifdef _OPENMP
/* Where the threads of a team wait for each other between steps, unless both are the first thread's alone. Short waits
   spin; on a machine that others use too, the thread we wait for may not be running, and then spinning longer would only
   keep it from its core. */
typedef struct { _Alignas(64) atomic_int waiting; _Alignas(64) atomic_int round; } barrier;

enum { SPINS = 2000 };

static inline void relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void wait_for_team(barrier *b, int team)
{
    const int round = atomic_load_explicit(&b->round, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&b->waiting, 1, memory_order_acq_rel) == team - 1) {
        atomic_store_explicit(&b->waiting, 0, memory_order_relaxed);
        atomic_store_explicit(&b->round, round + 1, memory_order_release);
        return;
    }
    for (int spins = 0; atomic_load_explicit(&b->round, memory_order_acquire) == round; spins++)
        if (spins < SPINS) relax();
        else sched_yield();
}

/* A process that was forked has none of OpenMP's threads, and would wait for them for ever: it runs alone. */
static atomic_int in_fork;
static void note_fork(void) { atomic_store(&in_fork, 1); }
static void watch_forks(void) { pthread_atfork(NULL, NULL, note_fork); }

static int may_share(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return !atomic_load(&in_fork);
}
#else
static int may_share(void) { return 0; }
#endif

void pycnn_run(const pycnn_step *steps, int64_t count, int threads, void *scratch, size_t scratch_per_thread)
{
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++)
        if (steps[i].tasks > most) most = steps[i].tasks;
    if (threads > most) threads = (int)most;
    if (threads <= 1 || !may_share()) {
        run_alone(steps, count, scratch);
        return;
    }
#ifdef _OPENMP
    barrier after_step = {0};
#pragma omp parallel num_threads(threads)
    {
        int t = omp_get_thread_num(), team = omp_get_num_threads();
        char *mine = (char *)scratch + (size_t)t * scratch_per_thread;
        __auto_type mode = flush_denormals();
        for (int64_t i = 0; i < count; i++) {
            run_share(&steps[i], t, team, mine);
            const int together = steps[i].tasks > 1 || (i + 1 < count && steps[i + 1].tasks > 1);
            if (together && team > 1) wait_for_team(&after_step, team);
        }
        restore_denormals(mode);
    }
#else
    (void)scratch_per_thread;
#endif
}

void pycnn_step_free(pycnn_step *step)
{
    if (step->args && step->release) step->release(step->args);
    free(step->args);
    step->args = NULL;
}

#ifdef _OPENMP
int pycnn_max_threads(void) { return omp_get_max_threads(); }
void pycnn_set_max_threads(int n) { omp_set_num_threads(n); }
int pycnn_has_openmp(void) { return 1; }
#else
int pycnn_max_threads(void) { return 1; }
void pycnn_set_max_threads(int n) { (void)n; }
int pycnn_has_openmp(void) { return 0; }
#endif

const char *pycnn_compiler(void)
{
#if defined(__clang__)
    return __VERSION__;
#else
    return "GCC " __VERSION__;
#endif
}
