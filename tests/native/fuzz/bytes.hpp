// What a fuzzer's bytes stand for: numbers, choices, text. Past their end everything is 0.
#pragma once
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

class Bytes {
public:
    Bytes(const uint8_t* data, size_t size) : data_(data), size_(size) {}

    uint8_t byte() { return size_ ? --size_, *data_++ : 0; }

    template <class T>
    T number() {
        T value{};
        auto* raw = reinterpret_cast<uint8_t*>(&value);
        for (size_t i = 0; i < sizeof(T); ++i) raw[i] = byte();
        return value;
    }

    // 1 to most, mostly small.
    size_t size(size_t most) { return 1 + number<uint16_t>() % most; }

    bool chance(int of_256) { return byte() < of_256; }

    // Values that break things, and any others.
    int64_t nasty() {
        static const int64_t values[] = {0,         1,         -1,        2,         31,        64,        65,        4096,
                                         INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN, 1LL << 30, 1LL << 32, 1LL << 40, (1LL << 62) + 64};
        const uint8_t which = byte();
        return which < 200 ? values[which % (sizeof(values) / sizeof(*values))] : number<int64_t>();
    }

    std::string choice(const std::vector<std::string>& of) { return of[byte() % of.size()]; }

    // Levels of a dial: none mostly, else two or three, at times in no order.
    std::vector<float> levels() {
        if (!chance(60)) return {};
        std::vector<float> found = {0.0f, 0.25f, 0.5f};
        if (chance(128)) found.pop_back();
        if (chance(10)) found[byte() % found.size()] = number<float>();
        return found;
    }

    void fill(uint8_t* to, size_t count) {
        const size_t given = count < size_ ? count : size_;
        if (given) std::memcpy(to, data_, given);
        for (size_t i = given; i < count; ++i) to[i] = static_cast<uint8_t>(i * 131 + 7);
        data_ += given;
        size_ -= given;
    }

private:
    const uint8_t* data_;
    size_t size_;
};
