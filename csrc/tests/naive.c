#include "naive.h"

int64_t volume(const int64_t size[3]) { return size[0] * size[1] * size[2]; }

pycnn_window make_window(const int64_t in[3], const int64_t kernel[3], const int64_t stride[3],
                         const int64_t dilation[3], const int64_t before[3], const int64_t after[3], int ceil_mode)
{
    pycnn_window w;
    for (int a = 0; a < 3; a++) {
        const int64_t room = in[a] + before[a] + after[a] - dilation[a] * (kernel[a] - 1) - 1;
        w.in[a] = in[a], w.kernel[a] = kernel[a], w.stride[a] = stride[a], w.dilation[a] = dilation[a];
        w.before[a] = before[a];
        w.out[a] = (room + (ceil_mode ? stride[a] - 1 : 0)) / stride[a] + 1;
        if ((w.out[a] - 1) * stride[a] >= in[a] + before[a]) w.out[a]--;
    }
    return w;
}

int64_t input_of(const pycnn_window *w, int64_t o, int64_t t)
{
    int64_t input = 0, size = 1;
    for (int a = 2; a >= 0; a--) {
        const int64_t i = o % w->out[a] * w->stride[a] - w->before[a] + t % w->kernel[a] * w->dilation[a];
        if (i < 0 || i >= w->in[a]) return -1;
        input += i * size;
        size *= w->in[a];
        o /= w->out[a];
        t /= w->kernel[a];
    }
    return input;
}

void correlate(const pycnn_connections *c, direction d, double *x, double *w, double *y)
{
    const int64_t in = volume(c->window.in), out = volume(c->window.out), taps = volume(c->window.kernel);
    int64_t *inputs = malloc((size_t)(out * taps) * sizeof *inputs);
    if (!inputs) exit(2);
    for (int64_t j = 0; j < out * taps; j++) inputs[j] = input_of(&c->window, j / taps, j % taps);
    for (int64_t n = 0; n < c->n; n++)
        for (int64_t e = 0; e < c->count; e++) {
            double *ye = y + (n * c->k + c->connection[e].map) * out, *we = w + e * taps;
            double *xe = x + (n * c->c + c->connection[e].source) * in;
            for (int64_t j = 0; j < out * taps; j++) {
                const int64_t o = j / taps, t = j % taps, i = inputs[j];
                if (i < 0) continue;
                if (d == FORWARD) ye[o] += we[t] * xe[i];
                else if (d == BACKWARD_DATA) xe[i] += we[t] * ye[o];
                else we[t] += ye[o] * xe[i];
            }
        }
    free(inputs);
}

#define AMPLITUDE 1.7159
#define SELU_SLOPE 1.0507009873554804934
#define SELU_LOWEST (SELU_SLOPE * 1.6732632423543772848)

double activation_value(pycnn_activation f, double x)
{
    switch (f.kind) {
    case PYCNN_RELU: return x > 0 ? x : 0;
    case PYCNN_LEAKY_RELU: return x > 0 ? x : f.alpha * x;
    case PYCNN_ELU: return x > 0 ? x : f.alpha * expm1(x);
    case PYCNN_SIGMOID: return 1 / (1 + exp(-x));
    case PYCNN_TANH: return tanh(x);
    case PYCNN_SCALED_TANH: return AMPLITUDE * tanh(2 * x / 3);
    case PYCNN_SOFTPLUS: return log1p(exp(-fabs(x))) + (x > 0 ? x : 0);
    case PYCNN_SELU: return x > 0 ? SELU_SLOPE * x : SELU_LOWEST * expm1(x);
    default: return x;
    }
}

double activation_slope(pycnn_activation f, double y)
{
    switch (f.kind) {
    case PYCNN_RELU: return y > 0;
    case PYCNN_LEAKY_RELU: return y > 0 ? 1 : f.alpha;
    case PYCNN_ELU: return y > 0 ? 1 : y + f.alpha;
    case PYCNN_SIGMOID: return y * (1 - y);
    case PYCNN_TANH: return 1 - y * y;
    case PYCNN_SCALED_TANH: return 2.0 / 3 * (AMPLITUDE - y * y / AMPLITUDE);
    case PYCNN_SOFTPLUS: return -expm1(-y);
    case PYCNN_SELU: return y > 0 ? SELU_SLOPE : y + SELU_LOWEST;
    default: return 1;
    }
}

pycnn_activation draw_activation(void)
{
    return (pycnn_activation){(pycnn_activation_kind)draw_int(PYCNN_IDENTITY, PYCNN_SELU), 0.25};
}
