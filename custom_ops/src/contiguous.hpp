// Whether tensors lie in memory without gaps, asked at every call.
#pragma once
#include <atomic>
#include <openvino/runtime/tensor.hpp>

namespace scap_ov {

// Asking a tensor for its strides makes them first, with a system call, and the CPU plugin brings a new one to every call: 1 of 9
// microseconds of a call. A row by itself lies in one piece.
inline bool is_contiguous(const ov::Tensor& tensor) {
    const ov::Shape& shape = tensor.get_shape();
    return tensor.get_size() == shape.back() || tensor.is_continuous();
}

// The same of an op's constant, asked once per place.
class ContiguousConstant {
public:
    bool holds(const ov::Tensor& tensor) const {
        const void* data = tensor.data();
        if (found_.load(std::memory_order_relaxed) == data) return true;
        if (!tensor.is_continuous()) return false;
        found_.store(data, std::memory_order_relaxed);
        return true;
    }

private:
    mutable std::atomic<const void*> found_{nullptr};
};

}  // namespace scap_ov
