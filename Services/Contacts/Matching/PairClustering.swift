/// Turns pairs into persons without chains: A like B and B like C joins all three only if A and C are compatible too.
///
/// Agglomerative with average linkage (Sokal & Michener 1958) on log-odds, strongest pairs first. Log-odds are cut off
/// at ±`cutoff` bits, so one perfect pair does not outvote two contradictions.
struct PairClustering {
    struct Link: Sendable {
        var left: Int32
        var right: Int32
        var bits: Float
    }

    static let cutoff = 10.0
    /// Of larger clusters only so many members, evenly spread, are compared when joining: the work is bounded.
    static let comparedMembers = 6

    private let thresholdBits: Double
    private let directBits: (Int, Int) -> Double
    private var clusterOf: [Int32: Int] = [:]
    private var members: [[Int32]] = []

    /// `directBits` gives the log-odds of any two people, candidates or not.
    init(thresholdBits: Double, directBits: @escaping (Int, Int) -> Double) {
        self.thresholdBits = thresholdBits
        self.directBits = directBits
    }

    /// Clusters of at least two, members ascending, clusters by first member. `links` in any order; those under the
    /// threshold are ignored.
    mutating func clusters(of links: [Link]) -> [[Int]] {
        let strongestFirst = links.filter { Double($0.bits) >= thresholdBits }.sorted {
            ($1.bits, $0.left, $0.right) < ($0.bits, $1.left, $1.right)
        }
        for link in strongestFirst { consider(link) }
        return members.filter { $0.count > 1 }.map { $0.map(Int.init).sorted() }.sorted { $0[0] < $1[0] }
    }

    private mutating func consider(_ link: Link) {
        let one = cluster(of: link.left)
        let other = cluster(of: link.right)
        if one == other { return }
        let isPair = members[one].count == 1 && members[other].count == 1
        guard isPair || averageBits(members[one], members[other]) >= max(0, thresholdBits) else { return }
        let (larger, smaller) = members[one].count >= members[other].count ? (one, other) : (other, one)
        for member in members[smaller] { clusterOf[member] = larger }
        members[larger] += members[smaller]
        members[smaller] = []
    }

    private mutating func cluster(of person: Int32) -> Int {
        if let cluster = clusterOf[person] { return cluster }
        members.append([person])
        clusterOf[person] = members.count - 1
        return members.count - 1
    }

    private func averageBits(_ one: [Int32], _ other: [Int32]) -> Double {
        let left = Self.sample(one)
        let right = Self.sample(other)
        var sum = 0.0
        for member in left {
            for counterpart in right {
                sum += min(Self.cutoff, max(-Self.cutoff, directBits(Int(member), Int(counterpart))))
            }
        }
        return sum / Double(left.count * right.count)
    }

    private static func sample(_ members: [Int32]) -> [Int32] {
        if members.count <= comparedMembers { return members }
        return (0..<comparedMembers).map { members[$0 * members.count / comparedMembers] }
    }
}
