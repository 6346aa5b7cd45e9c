// Tile registers in memory, one set a thread: what the AMX intrinsics of the kernels do, a byte at a time. An instruction that is not
// allowed (no configuration, a tile larger than it says) stops the process, as the CPU would.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace amx_emulated {

struct Config {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
};

struct Tiles {
    Config config{};
    uint8_t data[8][16][64]{};
};

inline Tiles& tiles() {
    thread_local Tiles state;
    return state;
}
inline void require(bool allowed) {
    if (!allowed) std::abort();
}
inline void load_config(const void* from) {
    Tiles& t = tiles();
    t = Tiles{};
    std::memcpy(&t.config, from, sizeof(Config));
    for (int i = 0; i < 8; ++i) require(t.config.rows[i] <= 16 && t.config.row_bytes[i] <= 64);
}
inline void store_config(void* to) {
    std::memcpy(to, &tiles().config, sizeof(Config));
}
inline void zero(int tile) {
    require(tiles().config.palette == 1);
    std::memset(tiles().data[tile], 0, sizeof(tiles().data[tile]));
}
inline void load(int tile, const void* base, size_t stride) {
    Tiles& t = tiles();
    zero(tile);
    for (int r = 0; r < t.config.rows[tile]; ++r)
        std::memcpy(t.data[tile][r], static_cast<const uint8_t*>(base) + r * stride, t.config.row_bytes[tile]);
}
inline void store(int tile, void* base, size_t stride) {
    const Tiles& t = tiles();
    require(t.config.palette == 1);
    for (int r = 0; r < t.config.rows[tile]; ++r)
        std::memcpy(static_cast<uint8_t*>(base) + r * stride, t.data[tile][r], t.config.row_bytes[tile]);
}
// sum[m][n] += Σ x[m][4k + i] w[k][4n + i]; both signed.
inline void multiply(int sum, int x, int w) {
    Tiles& t = tiles();
    const Config& c = t.config;
    require(c.palette == 1 && c.rows[sum] == c.rows[x] && c.row_bytes[sum] == c.row_bytes[w] && c.row_bytes[x] == 4 * c.rows[w]);
    for (int m = 0; m < c.rows[sum]; ++m)
        for (int n = 0; n < c.row_bytes[sum] / 4; ++n) {
            int32_t total;
            std::memcpy(&total, &t.data[sum][m][4 * n], 4);
            for (int k = 0; k < c.rows[w]; ++k)
                for (int i = 0; i < 4; ++i)
                    total += static_cast<int8_t>(t.data[x][m][4 * k + i]) * static_cast<int8_t>(t.data[w][k][4 * n + i]);
            std::memcpy(&t.data[sum][m][4 * n], &total, 4);
        }
}

}  // namespace amx_emulated

#define _tile_loadconfig amx_emulated::load_config
#define _tile_storeconfig amx_emulated::store_config
#define _tile_release() \
    amx_emulated::tiles() = amx_emulated::Tiles {}
#define _tile_zero amx_emulated::zero
#define _tile_loadd amx_emulated::load
#define _tile_stored amx_emulated::store
#define _tile_dpbssd amx_emulated::multiply
