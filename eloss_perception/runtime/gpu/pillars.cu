// SPDX-FileCopyrightText: 2026 The eloss_perception authors
// SPDX-License-Identifier: Apache-2.0
//
// The pillarizer of detection/pillars.py, step by step, on a GPU, with the same result bit for bit.
//
// Threads run in any order, so nothing may depend on which of them comes first: the only atomics
// are sums, ors and minima of integers, and no floating-point sum is shared between threads. There
// is neither shared memory nor a barrier; each step is a launch. Compile with --fmad=false: a fused
// multiply-add rounds once where the CPU rounds twice.

typedef unsigned int uint32;
typedef unsigned long long uint64;

// Mirrored by `_Frame` in pillarizer.py.
struct Frame {
    double x_min, y_min, z_min, x_max, y_max, z_max;  // [m]
    double dx, dy;                                    // edges of a pillar [m]
    const float4* points;         // (num_points): x, y, z [m], intensity
    const uint32* distance_rank;  // (cells): place of a cell among all by distance from the sensor
    uint64* nearest_words;        // bit r: the cell of distance rank r holds a point
    uint64* kept_words;           // bit c: cell c is a pillar
    uint32* cell_counts;          // (cells): points in a cell
    uint32* counts;               // see the indices below
    uint32* chunk_sums;           // set bits of each CHUNK words
    uint32* word_ranks;           // set bits before each word
    int* point_cells;             // (num_points): cell of a point; -1: none
    int* pillar_cells;            // (max_pillars): cell of a pillar, ascending
    uint64* place_keys;           // (max_pillars, max_points): hashes a pillar keeps, ascending
    uint32* place_points;         // (max_pillars, max_points): the points they belong to
    float4* pillar_points;        // result (rows, max_points)
    float* features;              // result (rows, 6)
    int* cell_to_pillar;          // result (cells)
    int num_points;
    int num_x, num_y;
    int max_pillars, max_points;  // the limits of the grid; max_points of one pillar
    int min_rows;                 // rows of the result at least; those without a pillar are zero
};

// Indices of Frame::counts.
#define NON_FINITE 0
#define OUT_OF_RANGE 1
#define OCCUPIED 2
#define PILLARS 3
#define KEPT_POINTS 4
#define LONE 5
#define SINGLE 6

#define CHUNK 64
#define NO_KEY 0xFFFFFFFFFFFFFFFFull  // a hash has 63 bits
#define NO_POINT 0xFFFFFFFFu

// The items 0..n-1, shared out among however many threads were launched.
#define FOR_EACH(i, n)                                           \
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < (n); \
         i += gridDim.x * blockDim.x)

// What another thread may be lowering or setting right now. An old value does no harm where this is
// used: it only leads to an atomic operation that changes nothing.
template <typename T>
static __device__ __forceinline__ T glance(const T* address) {
    return *(const volatile T*)address;
}

static __device__ __forceinline__ int num_words(const Frame& f) {
    return (f.num_x * f.num_y + 63) / 64;
}

static __device__ __forceinline__ void set_bit(uint64* words, uint32 index) {
    const uint64 bit = 1ull << (index & 63);
    if (!(glance(&words[index >> 6]) & bit)) atomicOr(&words[index >> 6], bit);
}

// Number of set bits before this one, given those before its word.
static __device__ __forceinline__ uint32 rank_of_bit(const uint64* words, const uint32* word_ranks,
                                                     uint32 index) {
    const uint64 before = words[index >> 6] & ((1ull << (index & 63)) - 1);
    return word_ranks[index >> 6] + (uint32)__popcll(before);
}

// Mixing steps of SplitMix64 (Steele et al. 2014) over the bits of a point, 63 bits.
static __device__ __forceinline__ uint64 hash_point(const float4* point) {
    const uint32* bits = (const uint32*)point;
    uint64 key = (uint64)bits[0] << 32 | bits[1];
    key = (key ^ (key >> 30)) * 0xBF58476D1CE4E5B9ull;
    key ^= (uint64)bits[2] << 32 | bits[3];
    key = (key ^ (key >> 27)) * 0x94D049BB133111EBull;
    return (key ^ (key >> 31)) >> 1;
}

static __device__ __forceinline__ double center_x(const Frame& f, int cell) {
    return f.x_min + (cell % f.num_x + 0.5) * f.dx;
}

static __device__ __forceinline__ double center_y(const Frame& f, int cell) {
    return f.y_min + (cell / f.num_x + 0.5) * f.dy;
}

// What cell_to_pillar says of an empty cell: the row behind the last one.
static __device__ __forceinline__ int num_rows(const Frame& f) {
    return max((int)f.counts[PILLARS], f.min_rows);
}

// 1. The cell of each point. Expects counts, cell_counts and both words to be zero.
extern "C" __global__ void assign_cells(const Frame f) {
    uint32 num_non_finite = 0, num_out_of_range = 0;
    FOR_EACH(i, f.num_points) {
        const float4 p = f.points[i];
        int cell = -1;
        if (!(isfinite(p.x) && isfinite(p.y) && isfinite(p.z) && isfinite(p.w))) {
            ++num_non_finite;
        } else if (!(f.x_min <= p.x && p.x < f.x_max && f.y_min <= p.y && p.y < f.y_max &&
                     f.z_min <= p.z && p.z < f.z_max)) {
            ++num_out_of_range;
        } else {
            // Rounding can push a point just below the upper bound into the next cell.
            const int column = min((int)((p.x - f.x_min) / f.dx), f.num_x - 1);
            const int row = min((int)((p.y - f.y_min) / f.dy), f.num_y - 1);
            cell = row * f.num_x + column;
            atomicAdd(&f.cell_counts[cell], 1u);
            set_bit(f.nearest_words, f.distance_rank[cell]);
        }
        f.point_cells[i] = cell;
    }
    if (num_non_finite) atomicAdd(&f.counts[NON_FINITE], num_non_finite);
    if (num_out_of_range) atomicAdd(&f.counts[OUT_OF_RANGE], num_out_of_range);
}

// Ranks of the bits of a bitmap, in two launches: the sum of each chunk of words, then each word's
// rank from the chunks and the words before it.
static __device__ __forceinline__ void sum_chunks(const Frame& f, const uint64* words) {
    const int last = num_words(f);
    FOR_EACH(chunk, (last + CHUNK - 1) / CHUNK) {
        uint32 sum = 0;
        for (int w = chunk * CHUNK; w < min((chunk + 1) * CHUNK, last); ++w)
            sum += (uint32)__popcll(words[w]);
        f.chunk_sums[chunk] = sum;
    }
}

static __device__ __forceinline__ void rank_words(const Frame& f, const uint64* words,
                                                  uint32* total) {
    const int last = num_words(f) - 1;
    FOR_EACH(word, last + 1) {
        uint32 rank = 0;
        for (int chunk = 0; chunk < word / CHUNK; ++chunk) rank += f.chunk_sums[chunk];
        for (int w = word / CHUNK * CHUNK; w < word; ++w) rank += (uint32)__popcll(words[w]);
        f.word_ranks[word] = rank;
        if (word == last) *total = rank + (uint32)__popcll(words[word]);
    }
}

// 2. and 3. Each occupied cell's place among the occupied ones, nearest first.
extern "C" __global__ void sum_nearest(const Frame f) { sum_chunks(f, f.nearest_words); }
extern "C" __global__ void rank_nearest(const Frame f) {
    rank_words(f, f.nearest_words, &f.counts[OCCUPIED]);
}

// 4. The max_pillars nearest are kept. Distances are compared on the host, once for a grid: here
// they are ranks, ties resolved.
extern "C" __global__ void keep_cells(const Frame f) {
    FOR_EACH(cell, f.num_x * f.num_y) {
        if (!f.cell_counts[cell]) continue;
        const uint32 place = rank_of_bit(f.nearest_words, f.word_ranks, f.distance_rank[cell]);
        if (place < (uint32)f.max_pillars) set_bit(f.kept_words, (uint32)cell);
    }
}

// 5. and 6. Each kept cell's place among the kept ones, in cell order: its pillar.
extern "C" __global__ void sum_kept(const Frame f) { sum_chunks(f, f.kept_words); }
extern "C" __global__ void rank_kept(const Frame f) {
    rank_words(f, f.kept_words, &f.counts[PILLARS]);
}

// 7. The map from cells to pillars, and back.
extern "C" __global__ void number_pillars(const Frame f) {
    const int empty = num_rows(f);
    FOR_EACH(cell, f.num_x * f.num_y) {
        int pillar = empty;
        if (f.kept_words[cell >> 6] >> (cell & 63) & 1) {
            pillar = (int)rank_of_bit(f.kept_words, f.word_ranks, (uint32)cell);
            f.pillar_cells[pillar] = cell;
        }
        f.cell_to_pillar[cell] = pillar;
    }
}

// 8. Every place of the pillars in use is free.
extern "C" __global__ void clear_places(const Frame f) {
    FOR_EACH(place, (int)f.counts[PILLARS] * f.max_points) {
        f.place_keys[place] = NO_KEY;
        f.place_points[place] = NO_POINT;
    }
}

// 9. The smallest hashes of each pillar, ascending. A key that takes a place sends the one that was
// there on to the next. Each place ends up with the smallest of all keys that ever reached it, so
// the result is the same whoever comes first: the sorted list of the smallest.
extern "C" __global__ void draw_keys(const Frame f) {
    const int empty = num_rows(f);
    FOR_EACH(i, f.num_points) {
        const int cell = f.point_cells[i];
        if (cell < 0) continue;
        const int pillar = f.cell_to_pillar[cell];
        if (pillar == empty) continue;
        uint64* keys = f.place_keys + (size_t)pillar * f.max_points;
        uint64 key = hash_point(&f.points[i]);
        if (key >= glance(&keys[f.max_points - 1])) continue;
        for (int k = 0; k < f.max_points; ++k) {
            if (key >= glance(&keys[k])) continue;
            const uint64 held = atomicMin(&keys[k], key);
            if (held == NO_KEY) break;
            key = max(held, key);
        }
    }
}

// 10. The points that these hashes belong to; those of equal hash in the order of the scan.
extern "C" __global__ void place_points(const Frame f) {
    const int empty = num_rows(f);
    FOR_EACH(i, f.num_points) {
        const int cell = f.point_cells[i];
        if (cell < 0) continue;
        const int pillar = f.cell_to_pillar[cell];
        if (pillar == empty) continue;
        const uint64* keys = f.place_keys + (size_t)pillar * f.max_points;
        uint32* points = f.place_points + (size_t)pillar * f.max_points;
        const uint64 key = hash_point(&f.points[i]);
        int first = 0, behind = f.max_points;  // the first place whose key is not smaller
        while (first < behind) {
            const int middle = (first + behind) / 2;
            if (keys[middle] < key) first = middle + 1;
            else behind = middle;
        }
        uint32 point = (uint32)i;
        for (int k = first; k < f.max_points && keys[k] == key; ++k) {
            if (point >= glance(&points[k])) continue;
            const uint32 held = atomicMin(&points[k], point);
            if (held == NO_POINT) break;
            point = max(held, point);
        }
    }
}

// 11. The points relative to their pillar's centre; free places repeat the first.
extern "C" __global__ void write_points(const Frame f) {
    const int num_pillars = (int)f.counts[PILLARS];
    FOR_EACH(place, num_rows(f) * f.max_points) {
        const int pillar = place / f.max_points;
        if (pillar >= num_pillars) {
            f.pillar_points[place] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
            continue;
        }
        uint32 point = f.place_points[place];
        if (point == NO_POINT) point = f.place_points[pillar * f.max_points];
        const float4 p = f.points[point];
        const int cell = f.pillar_cells[pillar];
        f.pillar_points[place] = make_float4((float)(p.x - center_x(f, cell)),
                                             (float)(p.y - center_y(f, cell)), p.z, p.w);
    }
}

// Whether none of a pillar's eight neighbours is one; never on the edge of the grid.
static __device__ __forceinline__ bool is_lone(const Frame& f, int cell, int empty) {
    const int column = cell % f.num_x, row = cell / f.num_x;
    if (column == 0 || column == f.num_x - 1 || row == 0 || row == f.num_y - 1) return false;
    for (int above = -1; above <= 1; ++above)
        for (int beside = -1; beside <= 1; ++beside)
            if ((above || beside) && f.cell_to_pillar[cell + above * f.num_x + beside] != empty)
                return false;
    return true;
}

// 12. The features of each pillar, its sums in the order of its places, and the counts.
extern "C" __global__ void write_features(const Frame f) {
    const int num_pillars = (int)f.counts[PILLARS];
    const int empty = num_rows(f);
    uint32 num_kept = 0, num_lone = 0, num_single = 0;
    FOR_EACH(pillar, empty) {
        float* features = f.features + (size_t)pillar * 6;
        if (pillar >= num_pillars) {
            for (int k = 0; k < 6; ++k) features[k] = 0.0f;
            continue;
        }
        const int cell = f.pillar_cells[pillar];
        const double x_center = center_x(f, cell), y_center = center_y(f, cell);
        const uint32 in_cell = f.cell_counts[cell];
        const int count = (int)min(in_cell, (uint32)f.max_points);
        double x = 0.0, y = 0.0, z = 0.0, intensity = 0.0;
        for (int k = 0; k < count; ++k) {
            const float4 p = f.points[f.place_points[(size_t)pillar * f.max_points + k]];
            x += p.x - x_center;
            y += p.y - y_center;
            z += p.z;
            intensity += p.w;
        }
        features[0] = (float)(x / count);
        features[1] = (float)(y / count);
        features[2] = (float)(z / count);
        features[3] = (float)(intensity / count);
        // No double logarithm of a count lies so close to the middle between two floats that the
        // last bits, in which libraries differ, could change this one.
        features[4] = (float)log(1.0 + in_cell);
        features[5] = (float)sqrt(x_center * x_center + y_center * y_center);
        num_kept += (uint32)count;
        num_single += in_cell == 1;
        num_lone += is_lone(f, cell, empty);
    }
    if (num_kept) atomicAdd(&f.counts[KEPT_POINTS], num_kept);
    if (num_lone) atomicAdd(&f.counts[LONE], num_lone);
    if (num_single) atomicAdd(&f.counts[SINGLE], num_single);
}
