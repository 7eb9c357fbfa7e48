/* Compiled forms of the steps that every decision of a regression policy takes.
 *
 * Each function gives, bit for bit, what the numpy steps beside its call give: additions, multiplications, divisions and
 * square roots in the same order, each rounded by itself. So this file must be compiled without -ffast-math and with
 * -ffp-contract=off: a fused multiplication and addition rounds once where numpy rounds twice. Vector units may be used,
 * since they do the same to several elements at once; sums keep their order.
 *
 * Arguments are objects with the buffer protocol, C-contiguous, of the types and sizes that the stub states; anything
 * else is a ValueError. Results go into arrays that the caller gives. float32 is `float`, float64 `double`.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__linux__)
/* One form for each vector unit; which of them runs is settled when the module is loaded. None of them fuses. */
#define FOR_VECTOR_UNITS __attribute__((target_clones("default", "avx2")))
#else
#define FOR_VECTOR_UNITS
#endif

#define BLOCK 256 /* candidates worked on at a time: what a step needs stays in the processor's cache */
#define LANES 8
#define LEAST_BITS ((int32_t)0xFF800000) /* of -infinity, float32 */

/* The constants of bandits/exact_math.py. */
static const double LN2_HIGH = 6.93147180369123816490e-01, LN2_LOW = 1.90821492927058770002e-10;
static const double LOG2_E = 1.4426950408889634;
static const double SQRT_HALF = 0.7071067811865476;
static const double WHOLE = 6755399441055744.0; /* 1.5 * 2^52: added and taken away it rounds to a whole number */
static const float WHOLE_F = 12582912.0f;       /* the same for float32 */
static const double SCALE = 753.2122297233633;
static const float EXP2_F[5] = {7.28773553727623f, 41.808648228090384f, 180.9375306344387f, 522.0867351782156f,
                                753.2122297233633f};
static const double LEAST_NORMAL = 2.2250738585072014e-308;
static const double LEAST_PIVOT = 3.5527136788005009e-15; /* 2^-48 */
static const double LOGIT_SCALE = 4.0, LEAST_CHANCE = 1e-6;

static inline double from_bits(uint64_t bits) {
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t to_bits(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* e^x for |x| <= 700. */
static inline double exp_of(double x) {
    double t = x * LOG2_E;
    double k = (t + WHOLE) - WHOLE;
    double high = x - k * LN2_HIGH, low = k * LN2_LOW;
    double r = high - low;
    double z = r * r;
    double c = r - z * (1.66666666666666019037e-01 +
                        z * (-2.77777777770155933842e-03 +
                             z * (6.61375632143793436117e-05 +
                                  z * (-1.65339022054652515390e-06 + z * 4.13813679705723846039e-08))));
    double near = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    /* 2^k: the lowest bits of k + 1.5 * 2^52 hold k. */
    return near * from_bits((to_bits(k + WHOLE) + 1023) << 52);
}

/* The natural logarithm of a positive finite number. */
static inline double log_of(double x) {
    double shift = x < LEAST_NORMAL ? 54.0 : 0.0;
    uint64_t bits = to_bits(x < LEAST_NORMAL ? x * 18014398509481984.0 : x); /* 2^54 */
    double mantissa = from_bits((bits & 0x000FFFFFFFFFFFFFULL) | 0x3FE0000000000000ULL);
    double k = (double)((int32_t)(bits >> 52) - 1022) - shift;
    double small = mantissa < SQRT_HALF ? 1.0 : 0.0;
    mantissa += mantissa * small;
    k -= small;
    double f = mantissa - 1.0;
    double s = f / (2.0 + f);
    double z = s * s;
    double w = z * z;
    double odd = w * (3.999999999940941908e-01 + w * (2.222219843214978396e-01 + w * 1.531383769920937332e-01));
    double even = z * (6.666666666666735130e-01 +
                       w * (2.857142874366239149e-01 + w * (1.818357216161805012e-01 + w * 1.479819860511658591e-01)));
    double half = 0.5 * f * f;
    return k * LN2_HIGH - ((half - (s * (half + (odd + even)) + k * LN2_LOW)) - f);
}

FOR_VECTOR_UNITS
static void fill_propensity_columns(const float *q, Py_ssize_t n, double *column, double *none) {
    for (Py_ssize_t i = 0; i < n; i++) {
        double p = q[i];
        double missing = p != p ? 1.0 : 0.0;
        p = missing != 0.0 ? 0.5 : p;
        p = p < LEAST_CHANCE ? LEAST_CHANCE : p;
        p = p > 1.0 - LEAST_CHANCE ? 1.0 - LEAST_CHANCE : p;
        double scaled = log_of(p / (1.0 - p)) / LOGIT_SCALE;
        column[i] = missing != 0.0 ? 0.0 : scaled;
        none[i] = missing;
    }
}

FOR_VECTOR_UNITS
static void fill_sigmoid(const double *s, Py_ssize_t n, double *out) {
    for (Py_ssize_t i = 0; i < n; i++) {
        double x = s[i];
        x = x < -30.0 ? -30.0 : x;
        x = x > 30.0 ? 30.0 : x;
        out[i] = 1.0 / (exp_of(-x) + 1.0);
    }
}

FOR_VECTOR_UNITS
static void fill_log(const double *x, Py_ssize_t n, double *out) {
    for (Py_ssize_t i = 0; i < n; i++)
        out[i] = log_of(x[i]);
}

FOR_VECTOR_UNITS
static void add_product(double *restrict total, const double *restrict a, double b, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++)
        total[i] += a[i] * b;
}

FOR_VECTOR_UNITS
static void add_products(double *restrict total, const double *restrict a, const double *restrict b, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++)
        total[i] += a[i] * b[i];
}

FOR_VECTOR_UNITS
static void add_moments(const double *restrict row, const double *restrict weights, double *restrict mean,
                        double *restrict variance, Py_ssize_t n, int first) {
    if (first)
        for (Py_ssize_t i = 0; i < n; i++) {
            mean[i] = 0.0 + row[i] * weights[i]; /* as numpy begins: no sum is -0 */
            variance[i] = row[i] * row[i];
        }
    else
        for (Py_ssize_t i = 0; i < n; i++) {
            mean[i] += row[i] * weights[i];
            variance[i] += row[i] * row[i];
        }
}

FOR_VECTOR_UNITS
static void finish_deviation(double *restrict variance, const double *restrict noise, Py_ssize_t n) {
    for (Py_ssize_t i = 0; i < n; i++)
        variance[i] = sqrt(variance[i] * noise[i]);
}

/* Row i of W z, for m candidates of n. factors: (d, d, n), columns first, from the first of the m on; common: the
 * first k columns; own: the others, (d - k, n), from the first of the m on. */
static void apply_row(double *row, const double *factors, Py_ssize_t i, const double *common, Py_ssize_t k,
                      const double *own, Py_ssize_t d, Py_ssize_t n, Py_ssize_t m) {
    for (Py_ssize_t c = 0; c < m; c++)
        row[c] = 0.0;
    for (Py_ssize_t j = 0; j <= i; j++) {
        const double *factor = factors + (j * d + i) * n;
        if (j >= k)
            add_products(row, factor, own + (j - k) * n, m);
        else if (common[j] != 0.0)
            add_product(row, factor, common[j], m);
    }
}

/* W' y: row j adds up what the rows from j on give, from the first to the last. factors: (d, d, n), columns first. */
static void apply_transposed(const double *factors, const double *y, Py_ssize_t d, Py_ssize_t n, double *out) {
    for (Py_ssize_t j = 0; j < d; j++) {
        double *row = out + j * n;
        for (Py_ssize_t c = 0; c < n; c++)
            row[c] = 0.0;
        for (Py_ssize_t i = j; i < d; i++)
            add_products(row, factors + (j * d + i) * n, y + i * n, n);
    }
}

/* a: (k, m), b: (m, l), with m > 0; begins with the first product, so that a sum may be -0. */
static void fill_product(const double *a, const double *b, Py_ssize_t k, Py_ssize_t m, Py_ssize_t l, double *out) {
    for (Py_ssize_t i = 0; i < k; i++) {
        double *row = out + i * l;
        for (Py_ssize_t c = 0; c < l; c++)
            row[c] = a[i * m] * b[c];
        for (Py_ssize_t j = 1; j < m; j++)
            add_product(row, b + j * l, a[i * m + j], l);
    }
}

static void fill_prediction(const double *factors, const double *weights, const double *noise, const double *common,
                            Py_ssize_t k, const double *own, Py_ssize_t d, Py_ssize_t n, double *mean,
                            double *deviation) {
    double row[BLOCK];
    for (Py_ssize_t start = 0; start < n; start += BLOCK) {
        Py_ssize_t m = n - start < BLOCK ? n - start : BLOCK;
        for (Py_ssize_t i = 0; i < d; i++) {
            apply_row(row, factors + start, i, common, k, own ? own + start : NULL, d, n, m);
            add_moments(row, weights + i * n + start, mean + start, deviation + start, m, i == 0);
        }
        finish_deviation(deviation + start, noise + start, m);
    }
}

FOR_VECTOR_UNITS
static void subtract_products(double *restrict row, double *restrict sum, const double *restrict done, Py_ssize_t width,
                              Py_ssize_t count, Py_ssize_t at, Py_ssize_t begin, Py_ssize_t n) {
    for (Py_ssize_t c = 0; c < n; c++)
        sum[c] = 0.0 + done[begin + c] * done[at];
    for (Py_ssize_t k = 1; k < count; k++) {
        const double *other = done + k * width + begin;
        double factor = done[k * width + at];
        for (Py_ssize_t c = 0; c < n; c++)
            sum[c] += other[c] * factor;
    }
    for (Py_ssize_t c = 0; c < n; c++)
        row[c] -= sum[c];
}

/* Factors one matrix, (d, d), by elimination beside the unit matrix; see exact_math._invert_cholesky. Row k of done,
 * (d, 2 d), gets column k of the factor, from the diagonal on, and d places further right row k of its inverse. */
static void eliminate(const double *a, Py_ssize_t d, double *done, double *sum, double *pivots) {
    memset(done, 0, 2 * d * d * sizeof *done);
    for (Py_ssize_t j = 0; j < d; j++) {
        double *row = done + j * 2 * d + j;
        memcpy(row, a + j * d + j, (d - j) * sizeof *row);
        row[d] = 1.0;
        if (j)
            subtract_products(row, sum, done, 2 * d, j, j, j, d + 1);
        double least = a[j * d + j] * LEAST_PIVOT;
        pivots[j] = row[0] < least ? least : row[0];
        double root = sqrt(pivots[j]);
        for (Py_ssize_t c = 0; c <= d; c++)
            row[c] /= root;
    }
}

/* a: (count, d, d); w: (d, d, count), columns first; pivots: (d, count). space: LANES * d * (2 d + 1) + 2 d numbers. */
static void fill_factors(const double *a, Py_ssize_t count, Py_ssize_t d, double *space, double *w, double *pivots) {
    double *sum = space + LANES * d * (2 * d + 1), *roots = space + LANES * 2 * d * d;
    for (Py_ssize_t start = 0; start < count; start += LANES) {
        /* Several at a time, so that what is written lies side by side. */
        Py_ssize_t m = count - start < LANES ? count - start : LANES;
        for (Py_ssize_t c = 0; c < m; c++)
            eliminate(a + (start + c) * d * d, d, space + c * 2 * d * d, sum, roots + c * d);
        for (Py_ssize_t j = 0; j < d; j++) {
            for (Py_ssize_t i = 0; i < d; i++)
                for (Py_ssize_t c = 0; c < m; c++)
                    w[(j * d + i) * count + start + c] = space[(c * d + i) * 2 * d + d + j];
            for (Py_ssize_t c = 0; c < m; c++)
                pivots[j * count + start + c] = roots[c * d + j];
        }
    }
}

FOR_VECTOR_UNITS
static void prepare_draws(const double *mean, const double *spread, const float *weight, Py_ssize_t n, float *centre,
                          float *width, float *top) {
    for (Py_ssize_t i = 0; i < n; i++) {
        double s = -spread[i];
        s = s < -10.0 ? -10.0 : s;
        width[i] = (float)(s * LOG2_E);
        double m = mean[i];
        m = m < -30.0 ? -30.0 : m;
        m = m > 30.0 ? 30.0 : m;
        centre[i] = (float)(m * LOG2_E);
        top[i] = weight[i] * (float)SCALE;
    }
}

FOR_VECTOR_UNITS
static void draw_scores(const float *restrict draws, const float *restrict centre, const float *restrict width,
                        const float *restrict top, Py_ssize_t n, float *restrict out) {
    for (Py_ssize_t i = 0; i < n; i++) {
        float t = draws[i] * width[i];
        t -= centre[i];
        float power = t + WHOLE_F;
        int32_t exponent, bits;
        memcpy(&exponent, &power, sizeof exponent);
        exponent = (int32_t)((uint32_t)exponent << 23);
        power -= WHOLE_F;
        t -= power;
        float p = t + EXP2_F[0];
        p = p * t + EXP2_F[1];
        p = p * t + EXP2_F[2];
        p = p * t + EXP2_F[3];
        p = p * t + EXP2_F[4];
        memcpy(&bits, &p, sizeof bits);
        bits = (int32_t)((uint32_t)bits + (uint32_t)exponent);
        memcpy(&p, &bits, sizeof p);
        out[i] = top[i] / (p + (float)SCALE);
    }
}

typedef float Floats __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));

/* The first index of the greatest of n numbers; offset is 0 for those that take part and -inf for the others. */
FOR_VECTOR_UNITS
static Py_ssize_t find_greatest(const float *scores, const float *offset, Py_ssize_t n) {
    Integers best, place, index;
    for (int lane = 0; lane < LANES; lane++) {
        best[lane] = LEAST_BITS;
        place[lane] = INT32_MAX;
        index[lane] = lane;
    }
    Py_ssize_t i = 0;
    for (; i + LANES <= n; i += LANES, index += LANES) {
        Floats score, other;
        memcpy(&score, scores + i, sizeof score);
        memcpy(&other, offset + i, sizeof other);
        score += other;
        Integers better = score > (Floats)best;
        best = ((Integers)score & better) | (best & ~better);
        place = (index & better) | (place & ~better);
    }
    Floats values = (Floats)best;
    float top = -INFINITY;
    int32_t first = INT32_MAX;
    for (int lane = 0; lane < LANES; lane++)
        if (values[lane] > top || (values[lane] == top && place[lane] < first)) {
            top = values[lane];
            first = place[lane];
        }
    for (; i < n; i++) {
        float score = scores[i] + offset[i];
        if (score > top) {
            top = score;
            first = (int32_t)i;
        }
    }
    return first == INT32_MAX ? 0 : first;
}

/* --- what Python sees --------------------------------------------------------------------------------------------- */

typedef struct {
    Py_buffer views[10];
    int count;
} Buffers;

static void release(Buffers *held) {
    while (held->count)
        PyBuffer_Release(&held->views[--held->count]);
}

/* The memory of an array of items of a type, as the struct module names it: d, f or ?; NULL with an exception set if it
 * is none. */
static void *take_any(Buffers *held, PyObject *array, char type, int writable, const char *name) {
    Py_buffer *view = &held->views[held->count];
    if (PyObject_GetBuffer(array, view, (writable ? PyBUF_CONTIG : PyBUF_CONTIG_RO) | PyBUF_FORMAT) < 0)
        return NULL;
    held->count++;
    if (view->format && view->format[0] == type && !view->format[1])
        return view->buf;
    PyErr_Format(PyExc_ValueError, "%s has items of type %s; %c is needed", name, view->format ? view->format : "B",
                 type);
    return NULL;
}

/* The same, of `size` items. */
static void *take(Buffers *held, PyObject *array, Py_ssize_t size, char type, int writable, const char *name) {
    void *found = take_any(held, array, type, writable, name);
    if (!found)
        return NULL;
    const Py_buffer *view = &held->views[held->count - 1];
    if (view->len == size * view->itemsize)
        return found;
    PyErr_Format(PyExc_ValueError, "%s has %zd items; %zd are needed", name, view->len / view->itemsize, size);
    return NULL;
}

static int takes(Py_ssize_t given, Py_ssize_t wanted) {
    if (given == wanted)
        return 1;
    PyErr_Format(PyExc_TypeError, "%zd arguments are needed, not %zd", wanted, given);
    return 0;
}

/* The number of columns of the array of doubles that was taken last, which has so many rows; -1 with an exception set if
 * its items are not as many. */
static Py_ssize_t count_columns(const Buffers *held, Py_ssize_t rows, const char *name) {
    Py_ssize_t items = held->views[held->count - 1].len / 8, columns = rows ? items / rows : 0;
    if (columns * rows == items)
        return columns;
    PyErr_Format(PyExc_ValueError, "%s has %zd items, which are not %zd rows", name, items, rows);
    return -1;
}

static Py_ssize_t length(PyObject *array) { return PyObject_Length(array); }

static PyObject *propensity_columns(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 2))
        return NULL;
    Py_ssize_t n = length(args[0]);
    const float *q;
    double *out;
    if (n < 0 || !(q = take(&held, args[0], n, 'f', 0, "propensities")) ||
        !(out = take(&held, args[1], 2 * n, 'd', 1, "columns")))
        return release(&held), NULL;
    fill_propensity_columns(q, n, out, out + n);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *map_numbers(PyObject *const *args, Py_ssize_t given,
                             void (*fill)(const double *, Py_ssize_t, double *)) {
    Buffers held = {.count = 0};
    if (!takes(given, 2))
        return NULL;
    const double *x;
    double *out;
    if (!(x = take_any(&held, args[0], 'd', 0, "numbers")) ||
        !(out = take(&held, args[1], held.views[0].len / 8, 'd', 1, "results")))
        return release(&held), NULL;
    fill(x, held.views[0].len / 8, out);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *sigmoid(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    return map_numbers(args, given, fill_sigmoid);
}

static PyObject *log_numbers(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    return map_numbers(args, given, fill_log);
}

static PyObject *predict(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 7))
        return NULL;
    Py_ssize_t d = length(args[0]), n = length(args[2]), k = length(args[3]);
    const double *factors, *weights, *noise, *common, *own = NULL;
    double *mean, *deviation;
    if (d < 0 || n < 0 || k < 0)
        return NULL;
    if (k > d || (k < d) == (args[4] == Py_None)) {
        PyErr_SetString(PyExc_ValueError, "common and own columns are not as many as there are parameters");
        return NULL;
    }
    if (!(factors = take(&held, args[0], d * d * n, 'd', 0, "factors")) ||
        !(weights = take(&held, args[1], d * n, 'd', 0, "weights")) ||
        !(noise = take(&held, args[2], n, 'd', 0, "noise")) || !(common = take(&held, args[3], k, 'd', 0, "common")) ||
        (k < d && !(own = take(&held, args[4], (d - k) * n, 'd', 0, "own"))) ||
        !(mean = take(&held, args[5], n, 'd', 1, "mean")) ||
        !(deviation = take(&held, args[6], n, 'd', 1, "deviation")))
        return release(&held), NULL;
    fill_prediction(factors, weights, noise, common, k, own, d, n, mean, deviation);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *apply_factors(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 4))
        return NULL;
    Py_ssize_t d = length(args[0]), k = length(args[1]), n = 0;
    const double *factors, *common, *own = NULL;
    double *out;
    if (d < 0 || k < 0 || !(out = take_any(&held, args[3], 'd', 1, "product")) ||
        (n = count_columns(&held, d, "product")) < 0)
        return release(&held), NULL;
    if (k > d || (k < d) == (args[2] == Py_None)) {
        PyErr_SetString(PyExc_ValueError, "columns are not as many as there are parameters");
        return release(&held), NULL;
    }
    if (!(factors = take(&held, args[0], d * d * n, 'd', 0, "factors")) ||
        !(common = take(&held, args[1], k, 'd', 0, "common")) ||
        (k < d && !(own = take(&held, args[2], (d - k) * n, 'd', 0, "own"))))
        return release(&held), NULL;
    for (Py_ssize_t i = 0; i < d; i++)
        apply_row(out + i * n, factors, i, common, k, own, d, n, n);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *apply_transposed_factors(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 3))
        return NULL;
    Py_ssize_t d = length(args[0]), n = 0;
    const double *factors, *y;
    double *out;
    if (d < 0 || !(out = take_any(&held, args[2], 'd', 1, "product")) ||
        (n = count_columns(&held, d, "product")) < 0 ||
        !(factors = take(&held, args[0], d * d * n, 'd', 0, "factors")) ||
        !(y = take(&held, args[1], d * n, 'd', 0, "rows")))
        return release(&held), NULL;
    apply_transposed(factors, y, d, n, out);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *multiply(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 3))
        return NULL;
    Py_ssize_t k = length(args[0]), m = length(args[1]), l = 0;
    const double *a, *b;
    double *out;
    if (k < 0 || m < 0 || !(b = take_any(&held, args[1], 'd', 0, "the second matrix")) ||
        (l = count_columns(&held, m, "the second matrix")) < 0)
        return release(&held), NULL;
    if (!m) {
        PyErr_SetString(PyExc_ValueError, "the second matrix has no rows");
        return release(&held), NULL;
    }
    if (!(a = take(&held, args[0], k * m, 'd', 0, "the first matrix")) ||
        !(out = take(&held, args[2], k * l, 'd', 1, "product")))
        return release(&held), NULL;
    fill_product(a, b, k, m, l, out);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *invert_factors(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 3))
        return NULL;
    Py_ssize_t count = length(args[0]), d = length(args[1]);
    const double *a;
    double *w, *pivots, *space;
    if (count < 0 || d < 0 || !(a = take(&held, args[0], count * d * d, 'd', 0, "matrices")) ||
        !(w = take(&held, args[1], count * d * d, 'd', 1, "factors")) ||
        !(pivots = take(&held, args[2], count * d, 'd', 1, "pivots")))
        return release(&held), NULL;
    if (!(space = PyMem_Malloc((LANES * d * (2 * d + 1) + 2 * d + 1) * sizeof *space))) {
        release(&held);
        return PyErr_NoMemory();
    }
    fill_factors(a, count, d, space, w, pivots);
    PyMem_Free(space);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *logistic_draws(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 5))
        return NULL;
    Py_ssize_t n = length(args[0]), count = length(args[2]);
    const double *mean, *spread;
    const float *draws, *weight;
    float *out, *space = NULL;
    if (n < 0 || count < 0)
        return NULL;
    if (!(mean = take(&held, args[0], n, 'd', 0, "mean")) || !(spread = take(&held, args[1], n, 'd', 0, "spread")) ||
        !(draws = take(&held, args[2], count * n, 'f', 0, "draws")) ||
        !(weight = take(&held, args[3], n, 'f', 0, "weight")) ||
        !(out = take(&held, args[4], count * n, 'f', 1, "scores")))
        return release(&held), NULL;
    if (!(space = PyMem_Malloc((3 * n + 1) * sizeof *space))) {
        release(&held);
        return PyErr_NoMemory();
    }
    prepare_draws(mean, spread, weight, n, space, space + n, space + 2 * n);
    for (Py_ssize_t k = 0; k < count; k++)
        draw_scores(draws + k * n, space, space + n, space + 2 * n, n, out + k * n);
    PyMem_Free(space);
    release(&held);
    Py_RETURN_NONE;
}

static PyObject *count_wins(PyObject *self, PyObject *const *args, Py_ssize_t given) {
    Buffers held = {.count = 0};
    if (!takes(given, 3))
        return NULL;
    Py_ssize_t count = length(args[0]), n = length(args[1]);
    const float *scores;
    const char *available;
    double *wins;
    float *offset = NULL;
    if (count < 0 || n < 0)
        return NULL;
    if (!(scores = take(&held, args[0], count * n, 'f', 0, "scores")) ||
        !(available = take(&held, args[1], n, '?', 0, "available")) ||
        !(wins = take(&held, args[2], n, 'd', 1, "wins")))
        return release(&held), NULL;
    if (n == 0 || n > INT32_MAX - LANES) {
        release(&held);
        PyErr_SetString(PyExc_ValueError, "there are no candidates, or too many");
        return NULL;
    }
    if (!(offset = PyMem_Malloc(n * sizeof *offset))) {
        release(&held);
        return PyErr_NoMemory();
    }
    for (Py_ssize_t i = 0; i < n; i++) {
        offset[i] = available[i] ? 0.0f : -INFINITY;
        wins[i] = 0.0;
    }
    for (Py_ssize_t k = 0; k < count; k++)
        wins[find_greatest(scores + k * n, offset, n)] += 1.0;
    PyMem_Free(offset);
    release(&held);
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"propensity_columns", (PyCFunction)(void (*)(void))propensity_columns, METH_FASTCALL, NULL},
    {"sigmoid", (PyCFunction)(void (*)(void))sigmoid, METH_FASTCALL, NULL},
    {"log", (PyCFunction)(void (*)(void))log_numbers, METH_FASTCALL, NULL},
    {"predict", (PyCFunction)(void (*)(void))predict, METH_FASTCALL, NULL},
    {"apply_factors", (PyCFunction)(void (*)(void))apply_factors, METH_FASTCALL, NULL},
    {"apply_transposed_factors", (PyCFunction)(void (*)(void))apply_transposed_factors, METH_FASTCALL, NULL},
    {"multiply", (PyCFunction)(void (*)(void))multiply, METH_FASTCALL, NULL},
    {"invert_factors", (PyCFunction)(void (*)(void))invert_factors, METH_FASTCALL, NULL},
    {"logistic_draws", (PyCFunction)(void (*)(void))logistic_draws, METH_FASTCALL, NULL},
    {"count_wins", (PyCFunction)(void (*)(void))count_wins, METH_FASTCALL, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef module = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "_kernels",
    .m_doc = "Compiled forms of the steps of a decision; see the stub for arguments.",
    .m_size = 0,
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__kernels(void) { return PyModuleDef_Init(&module); }
