/* Random draws: the known answers of the generator, and what layers make of its words in every layout. */
#include "naive.h"

/* Philox4x32-10, one round after the other. */
static void philox(uint32_t c[4], uint64_t key)
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
        const uint64_t a = 0xD2511F53ull * c[0], b = 0xCD9E8D57ull * c[2];
        const uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b, (uint32_t)(a >> 32) ^ c[3] ^ k1,
                                  (uint32_t)a};
        memcpy(c, next, sizeof next);
    }
}

static void test_known_answers(void)
{
    begin_case("philox");
    uint32_t zeros_in[4] = {0, 0, 0, 0}, ones_in[4] = {~0u, ~0u, ~0u, ~0u};
    philox(zeros_in, 0);
    philox(ones_in, ~0ull);
    const uint32_t of_zeros[4] = {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8};
    const uint32_t of_ones[4] = {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd};
    check(!memcmp(zeros_in, of_zeros, sizeof of_zeros), "a counter and key of zeros");
    check(!memcmp(ones_in, of_ones, sizeof of_ones), "a counter and key of ones");
    end_case();
}

static void test_draws(pycnn_layout layout)
{
    const int64_t n = draw_int(1, 40), c = draw_int(1, 40), s = draw_int(1, 150), size = n * c * s;
    const int maps = (int)draw_int(0, 1);
    const uint32_t stream = (uint32_t)draw_int(0, 5);
    const double p = draw(0, 0.9), scale = draw(1, 2), deviation = draw(0.1, 2);
    const uint64_t state[2] = {(uint64_t)draw_int(0, INT64_MAX), (uint64_t)draw_int(0, 1000)}, *pointer = state;
    begin_case("draws %lldx%lldx%lld, layout %d, maps %d", (long long)n, (long long)c, (long long)s, (int)layout, maps);
    double *x = numbers(size, -1, 1), *dropped = zeros(size), *noisy = zeros(size);
    double *bound = zeros(size), *noise_bound = zeros(size);
    for (int64_t i = 0; i < size; i++) {
        const int64_t sample = i / (c * s), place = i % (c * s);
        const uint32_t quad = (uint32_t)(sample / 4), number = (uint32_t)state[1];
        uint32_t of_dropout[4] = {(uint32_t)(maps ? place / s : place), quad, stream, number};
        uint32_t of_noise[4] = {(uint32_t)place, quad, stream, number};
        philox(of_dropout, state[0]);
        philox(of_noise, state[0]);
        dropped[i] = of_dropout[sample % 4] < p * 0x1p32 ? 0 : scale * x[i];
        bound[i] = 2 * epsilon() * fabs(dropped[i]);
        const uint32_t *pair = of_noise + sample % 4 / 2 * 2;
        const double radius = sqrt(-2 * log(pair[0] * 0x1p-32 + 0x1p-33));
        const double turn = 2 * M_PI * ((int32_t)pair[1] * 0x1p-32);
        noisy[i] = x[i] + deviation * radius * (sample % 2 ? sin(turn) : cos(turn));
        const double of_rounded_u = fmin(4 * epsilon() / radius, sqrt(8 * epsilon()));
        noise_bound[i] = deviation * (64 * epsilon() + of_rounded_u);
    }
    const void *x_buffer = tensor_of(x, layout, n, c, s, 1);
    void *y_buffer = buffer(tensor_size(layout, n, c, s)), *z_buffer = buffer(tensor_size(layout, n, c, s));
    RUN(dropout, layout, n, c, s, maps, p, scale, stream, &pointer, x_buffer, y_buffer);
    compare("dropout", read_tensor(y_buffer, layout, n, c, s, 1), dropped, bound, size);
    RUN(gaussian_noise, layout, n, c, s, deviation, stream, &pointer, x_buffer, z_buffer);
    compare("noise", read_tensor(z_buffer, layout, n, c, s, 0), noisy, noise_bound, size);
    end_case();
}

void test_random(void)
{
    test_known_answers();
    for (int i = 0; i < 12; i++) {
        test_draws(PYCNN_PLAIN);
        test_draws(PYCNN_SAMPLES);
        test_draws(PYCNN_CHANNELS);
    }
}
