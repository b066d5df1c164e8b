import Tenancy

/// The root of a Merkle tree over digests, in the form of RFC 6962: leaves and nodes are hashed apart, an odd last node
/// goes up as it is. Any change, loss or exchange of a digest gives another root.
struct MerkleTree {
    /// The roots of complete subtrees, from the largest on; a bit of `count` each. Memory is the logarithm of the leaves.
    private var peaks: [[UInt8]] = []
    private(set) var count = 0

    mutating func append(_ digest: [UInt8]) {
        var node = Sodium.hash([0] + digest)
        var size = count
        while size & 1 == 1 {
            node = Self.node(peaks.removeLast(), node)
            size >>= 1
        }
        peaks.append(node)
        count += 1
    }

    /// The hash of nothing for a tree without leaves.
    var root: [UInt8] {
        guard var root = peaks.last else { return Sodium.hash([]) }
        for peak in peaks.dropLast().reversed() { root = Self.node(peak, root) }
        return root
    }

    private static func node(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] { Sodium.hash([1] + left + right) }
}
