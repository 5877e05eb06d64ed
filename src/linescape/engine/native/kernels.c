/* What torch has no fast operation for; see winograd.py, narrow.py and blend.py. Images lie channels last, in float32 or
   bfloat16; sums are in float32, in an order that does not depend on the number of threads. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define ROWS 14 /* tiles of one product: 28 sums, two weights and a factor fill the 32 registers */
#else
#define LANES 8
#define ROWS 6
#endif
#define PANEL (2 * LANES) /* outputs of one product */

#define INLINE static inline __attribute__((always_inline))

typedef int64_t size;
typedef float vec __attribute__((vector_size(LANES * 4)));
typedef float loose __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int32_t whole __attribute__((vector_size(LANES * 4)));
typedef uint16_t half __attribute__((vector_size(LANES * 2), aligned(2)));

const int64_t kernels_lanes = LANES, kernels_panel = PANEL;

INLINE vec get(const float *from) { return *(const loose *)from; }
INLINE void put(float *to, vec value) { *(loose *)to = value; }

/* Numbers of the images, by their place: bfloat16 is the upper half of float32. */
INLINE vec read(const void *from, size at, int bfloat16) {
  if (!bfloat16) return get((const float *)from + at);
  return (vec)(__builtin_convertvector(*(const half *)((const uint16_t *)from + at), whole) << 16);
}
INLINE void write(void *to, size at, vec value, int bfloat16) {
  if (!bfloat16) {
    put((float *)to + at, value);
    return;
  }
  whole bits = (whole)value, not_a_number = value != value;
  bits = ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) & ~not_a_number; /* to the nearest, ties to even */
  *(half *)((uint16_t *)to + at) = __builtin_convertvector(bits | (not_a_number & 0x7fc0), half);
}

static size least(size a, size b) { return a < b ? a : b; }

/* ---- Winograd's minimal filtering F(4x4, 3x3): 3x3 convolutions of stride 1 and padding 1 ----

   A tile is a 4x4 patch of the result. Blocks of tiles go through three steps while they are in the cache: each 6x6
   patch of the input is transformed, channel by channel; for each of the 36 places, tiles x inputs is multiplied by
   inputs x outputs; 6x6 products are transformed to 4x4 results. */

INLINE void of_filter(vec *to, vec a, vec b, vec c) {
  vec outer = (a + c) / 6, wide = a / 24 + c / 6;
  to[0] = a / 4;
  to[1] = -(outer + b / 6);
  to[2] = -(outer - b / 6);
  to[3] = wide + b / 12;
  to[4] = wide - b / 12;
  to[5] = c;
}
INLINE void of_input(vec *to, vec a, vec b, vec c, vec d, vec e, vec f) {
  vec even = e - 4 * c, odd = d - 4 * b, near = e - c, far = 2 * (d - b);
  to[0] = 4 * a - 5 * c + e;
  to[1] = even + odd;
  to[2] = even - odd;
  to[3] = near + far;
  to[4] = near - far;
  to[5] = 4 * b - 5 * d + f;
}
INLINE void of_products(vec *to, vec a, vec b, vec c, vec d, vec e, vec f) {
  vec sum = b + c, difference = b - c, far_sum = d + e, far_difference = d - e;
  to[0] = a + sum + far_sum;
  to[1] = difference + 2 * far_difference;
  to[2] = sum + 4 * far_sum;
  to[3] = difference + 8 * far_difference + f;
}

/* (outputs, inputs, 3, 3) -> (36, outputs / PANEL, inputs, PANEL) */
void winograd_weights(const float *weight, float *to, size outputs, size inputs, size threads) {
#pragma omp parallel for num_threads(threads)
  for (size panel = 0; panel < outputs / PANEL; panel++)
    for (size input = 0; input < inputs; input++) {
      float filters[3][3][PANEL];
      for (size lane = 0; lane < PANEL; lane++)
        for (size i = 0; i < 9; i++)
          filters[i / 3][i % 3][lane] = weight[((panel * PANEL + lane) * inputs + input) * 9 + i];
      for (size lane = 0; lane < PANEL; lane += LANES) {
        vec columns[3][6], rows[6];
        for (size j = 0; j < 3; j++)
          of_filter(columns[j], get(&filters[0][j][lane]), get(&filters[1][j][lane]), get(&filters[2][j][lane]));
        for (size i = 0; i < 6; i++) {
          of_filter(rows, columns[0][i], columns[1][i], columns[2][i]);
          for (size j = 0; j < 6; j++)
            put(to + (((i * 6 + j) * (outputs / PANEL) + panel) * inputs + input) * PANEL + lane, rows[j]);
        }
      }
    }
}

/* Products of some tiles and one panel of outputs, at one place. */
INLINE void products(size rows, const float *tiles, const float *weights, float *to, size inputs) {
  vec sums[ROWS][2];
  for (size r = 0; r < rows; r++) sums[r][0] = sums[r][1] = (vec){0};
  for (size input = 0; input < inputs; input += LANES, tiles += 36 * ROWS * LANES)
    for (size i = 0; i < LANES; i++, weights += PANEL) {
      vec left = get(weights), right = get(weights + LANES);
#pragma GCC unroll 16
      for (size r = 0; r < rows; r++) {
        sums[r][0] += tiles[r * LANES + i] * left;
        sums[r][1] += tiles[r * LANES + i] * right;
      }
    }
#pragma GCC unroll 16
  for (size r = 0; r < rows; r++) {
    put(to + r * PANEL, sums[r][0]);
    put(to + r * PANEL + LANES, sums[r][1]);
  }
}

static void products_of(size rows, const float *tiles, const float *weights, float *to, size inputs) {
  switch (rows) { /* so that sums stay in registers */
#define CASE(R) \
  case R: \
    products(R, tiles, weights, to, inputs); \
    break;
    CASE(1) CASE(2) CASE(3) CASE(4) CASE(5)
#if ROWS > 6
    CASE(6) CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12) CASE(13)
#endif
    default:
      products(ROWS, tiles, weights, to, inputs);
  }
}

typedef struct {
  const void *images, *other; /* (examples, height, width, inputs), (examples, height, width, outputs) */
  const float *weights, *bias;
  void *result; /* (examples, height, width, outputs) */
  size height, width, inputs, outputs, relu;
} call;

static const float zeros[4096]; /* what is around an image */

/* Transform a tile's patch of the input; its places, and blocks of its channels, lie so far apart. */
INLINE void take(const call *c, size tile, float *to, size of_place, size of_block, int bfloat16) {
  size high = (c->height + 3) / 4, wide = (c->width + 3) / 4, example = tile / (high * wide);
  size top = tile / wide % high * 4 - 1, left = tile % wide * 4 - 1;
  const char *at[6][6];
  for (size i = 0; i < 6; i++)
    for (size j = 0; j < 6; j++) {
      size y = top + i, x = left + j, inside = y >= 0 && y < c->height && x >= 0 && x < c->width;
      size place = ((example * c->height + y) * c->width + x) * c->inputs;
      at[i][j] = inside ? (const char *)c->images + place * (bfloat16 ? 2 : 4) : (const char *)zeros;
    }
  for (size input = 0; input < c->inputs; input += LANES, to += of_block) {
    vec rows[6][6], column[6];
    for (size i = 0; i < 6; i++)
      of_input(rows[i], read(at[i][0], input, bfloat16), read(at[i][1], input, bfloat16),
               read(at[i][2], input, bfloat16), read(at[i][3], input, bfloat16), read(at[i][4], input, bfloat16),
               read(at[i][5], input, bfloat16));
    for (size j = 0; j < 6; j++) {
      of_input(column, rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]);
      for (size i = 0; i < 6; i++) put(to + (i * 6 + j) * of_place, column[i]);
    }
  }
}

/* `count` tiles from the `first` on, for the panels from `begin` to `end`. */
INLINE void block(const call *c, size first, size count, size begin, size end, float *room, int bfloat16) {
  size high = (c->height + 3) / 4, wide = (c->width + 3) / 4, groups = (count + ROWS - 1) / ROWS, panels = end - begin;
  float *transformed = room, *multiplied = room + 36 * groups * ROWS * c->inputs;

  for (size t = 0; t < count; t++) /* (group, inputs / LANES, 36, ROWS, LANES) */
    take(c, first + t, transformed + t / ROWS * ROWS * 36 * c->inputs + t % ROWS * LANES, ROWS * LANES,
         36 * ROWS * LANES, bfloat16);

  for (size place = 0; place < 36; place++)
    for (size panel = begin; panel < end; panel++)
      for (size group = 0; group < groups; group++)
        products_of(least(ROWS, count - group * ROWS),
                    transformed + (group * 36 * c->inputs + place * LANES) * ROWS,
                    c->weights + (place * (c->outputs / PANEL) + panel) * c->inputs * PANEL,
                    multiplied + ((group * panels + panel - begin) * 36 + place) * ROWS * PANEL, c->inputs);

  for (size t = 0; t < count; t++) {
    size tile = first + t, example = tile / (high * wide), top = tile / wide % high * 4, left = tile % wide * 4;
    for (size output = begin * PANEL; output < end * PANEL; output += LANES) {
      size of_panel = t / ROWS * panels + output / PANEL - begin, next = ROWS * PANEL;
      const float *at = multiplied + of_panel * 36 * next + t % ROWS * PANEL + output % PANEL;
      vec columns[6][4], row[4], bias = c->bias ? get(c->bias + output) : (vec){0};
      for (size j = 0; j < 6; j++)
        of_products(columns[j], get(at + j * next), get(at + (6 + j) * next), get(at + (12 + j) * next),
                    get(at + (18 + j) * next), get(at + (24 + j) * next), get(at + (30 + j) * next));
      for (size i = 0; i < least(4, c->height - top); i++) {
        of_products(row, columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i], columns[5][i]);
        for (size j = 0; j < least(4, c->width - left); j++) {
          size place = ((example * c->height + top + i) * c->width + left + j) * c->outputs + output;
          vec value = row[j] + bias;
          if (c->other) value += read(c->other, place, bfloat16);
          if (c->relu) value = (vec)((whole)value & ~(value <= 0)); /* NaN stays NaN */
          write(c->result, place, value, bfloat16);
        }
      }
    }
  }
}

static void block_float32(const call *c, size first, size count, size begin, size end, float *room) {
  block(c, first, count, begin, end, room, 0);
}
static void block_bfloat16(const call *c, size first, size count, size begin, size end, float *room) {
  block(c, first, count, begin, end, room, 1);
}

#define ROOM (1 << 22) /* numbers that a thread may hold, where few tiles take less */

/* Memory of a thread, kept: fresh pages cost as much as a transform. */
static float *room_for(size numbers) {
  static __thread float *kept;
  static __thread size held;
  if (held < numbers) {
    free(kept);
    kept = aligned_alloc(64, numbers * 4);
    held = kept ? numbers : 0;
  }
  return kept;
}

/* Returns 0, or 1 where there is no memory. */
int winograd(const void *images, const float *weights, const float *bias, const void *other, void *result,
             size examples, size height, size width, size inputs, size outputs, size relu, size bfloat16,
             size threads) {
  call c = {images, other, weights, bias, result, height, width, inputs, outputs, relu};
  size all = examples * ((height + 3) / 4) * ((width + 3) / 4), panels = outputs / PANEL;
  /* Where weights are many, many tiles pass by them at once and threads share the outputs; else they share tiles. */
  size many = inputs * outputs >= 1 << 16, most = inputs * outputs >= 1 << 17 ? 8 * ROWS : many ? 4 * ROWS : ROWS;
  size parts = many ? least(threads, panels) : 1, of_tile = 36 * (inputs + (panels + parts - 1) / parts * PANEL);
  size fitting = ROOM / of_tile / ROWS * ROWS;
  most = fitting < ROWS ? ROWS : least(most, fitting);
  if (!all) return 0;
  size blocks = (all + most - 1) / most;
  if (!many) blocks = (blocks + threads - 1) / threads * threads;
  size tiles = ((all + blocks - 1) / blocks + ROWS - 1) / ROWS * ROWS, failed = 0;
  blocks = (all + tiles - 1) / tiles;
#pragma omp parallel for num_threads(threads) schedule(dynamic, 1)
  for (size job = 0; job < blocks * parts; job++) {
    size first = job / parts * tiles, begin = panels * (job % parts) / parts, end = panels * (job % parts + 1) / parts;
    float *room = room_for(36 * tiles * (inputs + (end - begin) * PANEL));
    if (!room) {
#pragma omp atomic write
      failed = 1;
    } else
      (bfloat16 ? block_bfloat16 : block_float32)(&c, first, least(tiles, all - first), begin, end, room);
  }
  return failed;
}

/* ---- Convolutions with few channels, and the maxima of windows side by side of their results ---- */

typedef struct {
  const float *weights, *bias; /* (panels of LANES outputs, rows, columns, inputs, LANES), (panels, LANES) */
  size rows, taps, step, image_row, outputs; /* taps: columns * inputs; outputs: in whole registers */
} filter;

/* Sums of `count` places side by side, for one or two registers of outputs, to places `outputs` apart. */
INLINE void side_by_side(const filter *f, const float *image, size count, size panels, size panel, float *to) {
  vec sums[2 * ROWS][2];
  const float *weights = f->weights + panel * f->rows * f->taps * LANES;
  for (size t = 0; t < count; t++)
    for (size p = 0; p < panels; p++) sums[t][p] = get(f->bias + (panel + p) * LANES);
  for (size row = 0; row < f->rows; row++, image += f->image_row)
    for (size tap = 0; tap < f->taps; tap++, weights += LANES) {
      vec first = get(weights), second = panels > 1 ? get(weights + f->rows * f->taps * LANES) : first;
#pragma GCC unroll 32
      for (size t = 0; t < count; t++) {
        vec number = image[t * f->step + tap] - (vec){0};
        sums[t][0] += number * first;
        if (panels > 1) sums[t][1] += number * second;
      }
    }
#pragma GCC unroll 32
  for (size t = 0; t < count; t++)
    for (size p = 0; p < panels; p++) put(to + t * f->outputs + p * LANES, sums[t][p]);
}

/* As many as stay in registers. */
#define MANY(count, panels) \
  case count: \
    side_by_side(f, image, count, panels, panel, to); \
    return;
static void some(const filter *f, const float *image, size count, size panel, float *to) {
  switch (count) {
    MANY(1, 1) MANY(2, 1) MANY(3, 1) MANY(4, 1) MANY(5, 1) MANY(6, 1) MANY(7, 1) MANY(8, 1) MANY(9, 1) MANY(10, 1)
    MANY(11, 1) MANY(12, 1)
  }
}
static void some_twice(const filter *f, const float *image, size count, size panel, float *to) {
  switch (count) { MANY(1, 2) MANY(2, 2) MANY(3, 2) MANY(4, 2) MANY(5, 2) MANY(6, 2) }
}

/* One row of results, `wide` places, to (wide, outputs in whole registers). */
static void row_of(const filter *f, const float *image, size wide, float *to) {
  size panels = f->outputs / LANES;
  for (size panel = 0; panel < panels; panel += 2) {
    size two = panel + 1 < panels, most = two ? 6 : 12, parts = (wide + most - 1) / most;
    for (size part = 0; part < parts; part++) {
      size x = wide * part / parts, count = wide * (part + 1) / parts - x;
      (two ? some_twice : some)(f, image + x * f->step, count, panel, to + x * f->outputs + panel * LANES);
    }
  }
}

/* The larger of two; NaN if one is. */
INLINE vec larger(vec a, vec b) {
  whole first = (a >= b) | (a != a);
  return (vec)(((whole)a & first) | ((whole)b & ~first));
}

/* images (examples, height, width, inputs) -> (examples, results' height / high, results' width / wide, outputs).
   Returns 0, or 1 where there is no memory. */
int narrow(const float *images, const float *weights, const float *bias, float *result, size examples, size height,
           size width, size inputs, size outputs, size rows, size columns, size down, size across, size above,
           size beside, size high, size wide, size relu, size threads) {
  size image_row = (width + 2 * beside) * inputs, panels = (outputs + LANES - 1) / LANES, failed = 0;
  filter f = {weights, bias, rows, columns * inputs, across * inputs, image_row, panels * LANES};
  size last_row = ((height + 2 * above - rows) / down + 1) / high;
  size last_column = ((width + 2 * beside - columns) / across + 1) / wide, used = last_column * wide;
  size padded = above || beside ? (height + 2 * above) * image_row : 0;
#pragma omp parallel for num_threads(threads)
  for (size part = 0; part < threads; part++) {
    float *room = room_for(padded + high * used * f.outputs), *band = room + padded;
    if (!room) {
#pragma omp atomic write
      failed = 1;
      continue;
    }
    if (padded) memset(room, 0, padded * 4);
    for (size e = examples * part / threads; e < examples * (part + 1) / threads; e++) {
      const float *image = images + e * height * width * inputs;
      if (padded) {
        for (size y = 0; y < height; y++)
          memcpy(room + (y + above) * image_row + beside * inputs, image + y * width * inputs, width * inputs * 4);
        image = room;
      }
      float *to = result + e * last_row * last_column * outputs, *end = to + last_row * last_column * outputs;
      for (size y = 0; y < last_row; y++) {
        for (size i = 0; i < high; i++)
          row_of(&f, image + (y * high + i) * down * image_row, used, band + i * used * f.outputs);
        for (size x = 0; x < last_column; x++, to += outputs)
          for (size output = 0; output < outputs; output += LANES) {
            const float *from = band + x * wide * f.outputs + output;
            vec value = get(from);
            for (size i = 0; i < high; i++)
              for (size j = 0; j < wide; j++) value = larger(value, get(from + (i * used + j) * f.outputs));
            if (relu) value = (vec)((whole)value & ~(value <= 0));
            /* A whole register is written where the image goes on, over what is then written again. */
            if (to + output + LANES <= end)
              put(to + output, value);
            else
              memcpy(to + output, &value, least(LANES, outputs - output) * 4);
          }
      }
    }
  }
  return failed;
}

/* ---- The gradient of the weights: the same tiles times 4x4 patches of the result's gradient, summed ---- */

#define DEPTH (LANES / 2) /* inputs of one product: twice as many sums stay in registers */

INLINE void of_gradient(vec *to, vec a, vec b, vec c, vec d) {
  vec even = a + c, odd = b + d, far_even = a + 4 * c, far_odd = 2 * b + 8 * d;
  to[0] = a;
  to[1] = even + odd;
  to[2] = even - odd;
  to[3] = far_even + far_odd;
  to[4] = far_even - far_odd;
  to[5] = d;
}
INLINE void of_sums(vec *to, vec a, vec b, vec c, vec d, vec e, vec f) {
  vec near = (b + c) / 6, far = d + e;
  to[0] = a / 4 - near + far / 24;
  to[1] = (c - b) / 6 + (d - e) / 12;
  to[2] = far / 6 - near + f;
}

/* Transform a tile's patch of the gradient to (36, outputs / PANEL, tiles, PANEL). */
static void take_gradient(const float *gradient, size tile, float *to, size tiles, size height, size width,
                          size outputs) {
  size high = (height + 3) / 4, wide = (width + 3) / 4, example = tile / (high * wide);
  size top = tile / wide % high * 4, left = tile % wide * 4;
  for (size output = 0; output < outputs; output += LANES) {
    vec rows[4][6], column[6], patch[4];
    for (size i = 0; i < 4; i++) {
      for (size j = 0; j < 4; j++) {
        size place = ((example * height + top + i) * width + left + j) * outputs + output;
        patch[j] = top + i < height && left + j < width ? get(gradient + place) : (vec){0};
      }
      of_gradient(rows[i], patch[0], patch[1], patch[2], patch[3]);
    }
    for (size j = 0; j < 6; j++) {
      of_gradient(column, rows[0][j], rows[1][j], rows[2][j], rows[3][j]);
      for (size i = 0; i < 6; i++)
        put(to + ((i * 6 + j) * (outputs / PANEL) + output / PANEL) * tiles * PANEL + output % PANEL, column[i]);
    }
  }
}

/* Add the products of `count` tiles for one place and one panel of outputs to its sums (inputs, PANEL). */
static void add_products(const float *images, const float *gradients, float *sums, size count, size inputs) {
  for (size from = 0; from < inputs; from += DEPTH) {
    vec held[DEPTH][2];
    for (size r = 0; r < DEPTH; r++)
      for (size half = 0; half < 2; half++) held[r][half] = get(sums + (from + r) * PANEL + half * LANES);
    for (size t = 0; t < count; t++) {
      vec left = get(gradients + t * PANEL), right = get(gradients + t * PANEL + LANES);
#pragma GCC unroll 8
      for (size r = 0; r < DEPTH; r++) {
        held[r][0] += images[t * inputs + from + r] * left;
        held[r][1] += images[t * inputs + from + r] * right;
      }
    }
    for (size r = 0; r < DEPTH; r++)
      for (size half = 0; half < 2; half++) put(sums + (from + r) * PANEL + half * LANES, held[r][half]);
  }
}

/* images (examples, height, width, inputs), gradient (examples, height, width, outputs) -> (outputs, inputs, 3, 3), by
   way of `room`, 36 * (inputs * outputs + tiles * (inputs + outputs)) numbers. */
void winograd_gradient(const float *images, const float *gradient, float *to, float *room, size tiles, size examples,
                       size height, size width, size inputs, size outputs, size threads) {
  call c = {images, 0, 0, 0, 0, height, width, inputs, outputs, 0};
  size all = examples * ((height + 3) / 4) * ((width + 3) / 4), panels = outputs / PANEL;
  size of_place = inputs * outputs;
  float *sums = room, *left = sums + 36 * of_place, *right = left + 36 * tiles * inputs;
#pragma omp parallel num_threads(threads)
  {
#pragma omp for
    for (size place = 0; place < 36; place++)
      for (size i = 0; i < of_place; i++) sums[place * of_place + i] = 0;
    for (size first = 0; first < all; first += tiles) {
      size count = least(tiles, all - first);
#pragma omp for
      for (size t = 0; t < count; t++) {
        take(&c, first + t, left + t * inputs, tiles * inputs, LANES, 0);
        take_gradient(gradient, first + t, right + t * PANEL, tiles, height, width, outputs);
      }
#pragma omp for
      for (size job = 0; job < 36 * panels; job++)
        add_products(left + job / panels * tiles * inputs, right + job * tiles * PANEL,
                     sums + job * inputs * PANEL, count, inputs);
    }
#pragma omp for
    for (size panel = 0; panel < panels; panel++)
      for (size input = 0; input < inputs; input++)
        for (size lane = 0; lane < PANEL; lane += LANES) {
          vec rows[6][3], column[3];
          for (size i = 0; i < 6; i++) {
            const float *at = sums + (i * 6 * panels + panel) * inputs * PANEL + input * PANEL + lane;
            size next = of_place;
            of_sums(rows[i], get(at), get(at + next), get(at + 2 * next), get(at + 3 * next), get(at + 4 * next),
                    get(at + 5 * next));
          }
          for (size j = 0; j < 3; j++) {
            of_sums(column, rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]);
            for (size i = 0; i < 3; i++)
              for (size l = 0; l < LANES; l++)
                to[((panel * PANEL + lane + l) * inputs + input) * 9 + i * 3 + j] = column[i][l];
          }
        }
  }
}

/* ---- Images between those of two ends: start * first[c] + end * second[c] + shift[c], plus other; its ReLU ---- */

INLINE void mix_rows(const void *start, const void *end, const float *first, const float *second, const float *shift,
                     const void *other, void *result, size from, size to, size channels, size relu, int bfloat16) {
  for (size row = from; row < to; row++)
    for (size c = 0; c < channels; c += LANES) {
      size at = row * channels + c;
      vec mixed = read(start, at, bfloat16) * get(first + c) + read(end, at, bfloat16) * get(second + c);
      vec value = mixed + get(shift + c);
      if (other) value += read(other, at, bfloat16);
      if (relu) value = (vec)((whole)value & ~(value <= 0));
      write(result, at, value, bfloat16);
    }
}

void mix(const void *start, const void *end, const float *first, const float *second, const float *shift,
         const void *other, void *result, size rows, size channels, size relu, size bfloat16, size threads) {
#pragma omp parallel for num_threads(threads)
  for (size part = 0; part < threads; part++) {
    size from = rows * part / threads, to = rows * (part + 1) / threads;
    if (bfloat16)
      mix_rows(start, end, first, second, shift, other, result, from, to, channels, relu, 1);
    else
      mix_rows(start, end, first, second, shift, other, result, from, to, channels, relu, 0);
  }
}
