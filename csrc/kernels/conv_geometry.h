/* The shape of a convolution pass: which source positions and weights make which target position.
 *
 * Forward, the source is x and the target y; backward, the source is dy and the target dx, as in a transposed
 * convolution. Both are sums over taps of a shifted source:
 *
 *     forward     y[p] = sum over r of         w[r]  x[p stride + r dilation - before]
 *     backward   dx[h] = sum over r, p of w[r]^T dy[p]    with p stride + r dilation - before = h
 *
 * Backward with a stride, only the taps with r dilation = h + before (mod stride) reach h. So the targets fall into
 * `stride` phases, h = phase + i stride, each with taps of its own and, like the forward pass, with offsets that are the
 * same for every i. An axis has one phase forward and at most `stride` backward. */

typedef struct {
    int64_t count, in_step, out_start, out_step;    /* target out_start + i out_step reads source i in_step + offset */
    int64_t taps, first_tap, tap_step;              /* tap t is kernel index first_tap + t tap_step, */
    int64_t first_offset, offset_step;              /* at source offset first_offset + t offset_step */
} axis_phase;

INLINE int64_t offset_low(const axis_phase *p)
{
    return min64(p->first_offset, p->first_offset + (p->taps - 1) * p->offset_step);
}
INLINE int64_t offset_high(const axis_phase *p)
{
    return max64(p->first_offset, p->first_offset + (p->taps - 1) * p->offset_step);
}
/* The first i whose target is at `h` or beyond. */
INLINE int64_t first_index(const axis_phase *p, int64_t h)
{
    return h <= p->out_start ? 0 : min64(p->count, ceil_div(h - p->out_start, p->out_step));
}

INLINE int64_t greatest_common_divisor(int64_t a, int64_t b)
{
    while (b) { int64_t t = a % b; a = b, b = t; }
    return a;
}

INLINE int64_t axis_phase_count(const pycnn_window *w, int axis, int backward)
{
    return backward ? min64(w->stride[axis], w->in[axis]) : 1;
}

static axis_phase axis_phase_of(const pycnn_window *w, int axis, int backward, int64_t phase)
{
    const int64_t kernel = w->kernel[axis], stride = w->stride[axis], dilation = w->dilation[axis];
    const int64_t before = w->before[axis];
    if (!backward)
        return (axis_phase){.count = w->out[axis], .in_step = stride, .out_step = 1, .taps = kernel, .tap_step = 1,
                            .first_offset = -before, .offset_step = dilation};
    const int64_t common = greatest_common_divisor(stride, dilation), tap_step = stride / common;
    int64_t first = 0;
    while (first < tap_step && first < kernel && (phase + before - first * dilation) % stride) first++;
    axis_phase p = {.count = ceil_div(w->in[axis] - phase, stride), .in_step = 1, .out_start = phase, .out_step = stride};
    if (first == tap_step || first == kernel) return p;
    p.taps = (kernel - 1 - first) / tap_step + 1;
    p.first_tap = first;
    p.tap_step = tap_step;
    p.first_offset = (phase + before - first * dilation) / stride;
    p.offset_step = -(dilation / common);
    return p;
}

/* How far an axis' taps reach before the source's first position and past its last. */
typedef struct { int64_t before, after; } overhang;

static overhang axis_overhang(const pycnn_window *w, int axis, int backward)
{
    const int64_t source = backward ? w->out[axis] : w->in[axis];
    overhang o = {0, 0};
    for (int64_t f = 0; f < axis_phase_count(w, axis, backward); f++) {
        axis_phase p = axis_phase_of(w, axis, backward, f);
        if (!p.taps || !p.count) continue;
        o.before = max64(o.before, -offset_low(&p));
        o.after = max64(o.after, (p.count - 1) * p.in_step + offset_high(&p) - (source - 1));
    }
    return o;
}

/* The same convolution with one long row instead of rows of fewer than `short_row` positions, where that changes nothing: a
   1x1 kernel does not care how positions are laid out. */
static pycnn_conv conv_flattened(pycnn_conv c, int64_t short_row)
{
    pycnn_window *w = &c.window;
    for (int a = 0; a < 3; a++)
        if (w->kernel[a] != 1 || w->stride[a] != 1 || w->before[a] || w->in[a] != w->out[a]) return c;
    if (w->in[2] >= short_row) return c;
    w->in[2] = w->out[2] = w->in[0] * w->in[1] * w->in[2];
    w->in[0] = w->out[0] = w->in[1] = w->out[1] = 1;
    return c;
}

/* Rows shorter than a tile's longest side would leave tiles incomplete. */
static pycnn_conv conv_simplified(pycnn_conv c) { return conv_flattened(c, TILE_MAX); }

#define PANEL_BYTES (384 * 1024)        /* of the second-level cache, for the source of a task */

/* Target channels come in units: a vector of V channels in CHANNELS, one channel in SAMPLES. A bundle is the units of a group,
   which read the same source channels. */
typedef struct {
    int64_t unit, units;                /* first unit, and how many */
    int64_t source, sources;            /* first source channel, and how many */
} channel_bundle;

INLINE int64_t channels_per_unit(pycnn_layout layout) { return layout == PYCNN_CHANNELS ? V : 1; }

static channel_bundle bundle_of(pycnn_layout layout, int64_t targets, int64_t sources, int64_t groups, int64_t b)
{
    const int64_t units = ceil_div(targets / groups, channels_per_unit(layout)), in_group = sources / groups;
    return (channel_bundle){b * units, units, b * in_group, in_group};
}
