// The entry point that ov::Core::add_extension looks for.
#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>

#include "sparse_block.hpp"
#include "sparse_experts.hpp"
#include "sparse_projection.hpp"

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({
    std::make_shared<scap_ov::SparseMatMulExtension>(),
    std::make_shared<ov::OpExtension<scap_ov::SparseExperts>>(),
    std::make_shared<ov::OpExtension<scap_ov::SparseBlock>>(),
}));
