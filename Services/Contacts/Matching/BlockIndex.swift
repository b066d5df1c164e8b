/// Who shares which blocking key: blocks of at least two people, and every person's blocks. Candidate pairs are
/// generated from it one by one and never stored.
///
/// The work is bounded: a block of up to `pairedBlockSize` people gives all its pairs; in a larger one ("everybody is
/// called Smith") people are sorted by their names and dates and each is compared with the next `window` only (the
/// sorted neighbourhood of Hernández & Stolfo 1995), once by name and once by date and place. So a person costs at
/// most `pairedBlockSize / 2` or `2 · window` comparisons per key, whatever the size of the tenant.
struct BlockIndex: Sendable {
    static let pairedBlockSize = 64
    static let window = 12

    /// Members of all blocks, block by block; those of an oversize block stand twice, in both of its orders.
    private var members: [UInt32] = []
    private var blocks: [Block] = []
    /// Where each person's block numbers begin in `blocksOfPeople`; ascending for each person.
    private var firstBlock: [UInt32] = []
    private var blocksOfPeople: [UInt32] = []
    private(set) var oversizeBlocks = 0

    private struct Block: Sendable {
        var start: UInt32
        var count: UInt32

        var isOversize: Bool { count > BlockIndex.pairedBlockSize }
    }

    private struct Entry {
        var key: UInt64
        var person: UInt32
    }

    var blockCount: Int { blocks.count }

    /// Builds the index one kind of key after the other, so that the keys of one kind only are in memory at a time.
    init(_ profiles: PreparedProfiles, check: () throws -> Void = {}) rethrows {
        let blocking = BlockingKeys(profiles: profiles)
        let codes = (0..<profiles.count).map(blocking.codes)
        let order = NeighbourOrder(profiles)
        var entries: [Entry] = []
        var keys: [UInt64] = []
        for kind in BlockingKeys.Kind.allCases {
            try check()
            entries.removeAll(keepingCapacity: true)
            for person in 0..<profiles.count {
                keys.removeAll(keepingCapacity: true)
                blocking.append(kind, of: person, codes[person], to: &keys)
                for (place, key) in keys.enumerated() where !keys[..<place].contains(key) {
                    entries.append(Entry(key: key, person: UInt32(person)))
                }
            }
            entries.sort { $0.key == $1.key ? $0.person < $1.person : $0.key < $1.key }
            appendBlocks(entries, order)
        }
        listBlocksOfPeople(profiles.count)
    }

    private mutating func appendBlocks(_ entries: [Entry], _ order: NeighbourOrder) {
        var start = 0
        while start < entries.count {
            var end = start + 1
            while end < entries.count && entries[end].key == entries[start].key { end += 1 }
            if end - start > 1 {
                let block = Block(start: UInt32(members.count), count: UInt32(end - start))
                let people = entries[start..<end].map(\.person)
                if block.isOversize {
                    members += people.sorted(by: order.byName)
                    members += people.sorted(by: order.byDate)
                    oversizeBlocks += 1
                } else {
                    members += people
                }
                blocks.append(block)
            }
            start = end
        }
    }

    private mutating func listBlocksOfPeople(_ peopleCount: Int) {
        var counts = [UInt32](repeating: 0, count: peopleCount + 1)
        for block in blocks { for member in people(of: block) { counts[Int(member) + 1] += 1 } }
        for person in 0..<peopleCount { counts[person + 1] += counts[person] }
        firstBlock = counts
        blocksOfPeople = [UInt32](repeating: 0, count: Int(counts[peopleCount]))
        for (number, block) in blocks.enumerated() {
            for member in self.people(of: block) {
                blocksOfPeople[Int(counts[Int(member)])] = UInt32(number)
                counts[Int(member)] += 1
            }
        }
    }

    private func people(of block: Block) -> ArraySlice<UInt32> {
        members[Int(block.start)..<Int(block.start) + Int(block.count)]
    }

    /// Ranges of blocks with about `pairs` pairs each, for tasks to share.
    func portions(pairs: Int) -> [Range<Int>] {
        var portions: [Range<Int>] = []
        var start = 0
        var sum = 0
        for (number, block) in blocks.enumerated() {
            let count = Int(block.count)
            sum += block.isOversize ? count * 2 * Self.window : count * (count - 1) / 2
            if sum >= pairs || number == blocks.count - 1 {
                portions.append(start..<number + 1)
                start = number + 1
                sum = 0
            }
        }
        return portions
    }

    /// Calls with each pair (smaller index first) in the first of the blocks that both share. Pairs that meet in
    /// oversize blocks only may come more than once.
    @inline(__always)
    func forEachPair(in range: Range<Int>, changed: [Bool]?, _ body: (Int, Int) -> Void) {
        for number in range {
            let block = blocks[number]
            let start = Int(block.start)
            let count = Int(block.count)
            if let changed, !people(of: block).contains(where: { changed[Int($0)] }) { continue }
            for order in 0..<(block.isOversize ? 2 : 1) {
                let first = start + order * count
                let reach = block.isOversize ? Self.window : count
                for place in first..<first + count {
                    let end = min(first + count, place + reach + 1)
                    var other = place + 1
                    while other < end {
                        let left = min(Int(members[place]), Int(members[other]))
                        let right = max(Int(members[place]), Int(members[other]))
                        other += 1
                        if let changed, !changed[left] && !changed[right] { continue }
                        if meetEarlier(left, right, than: number) { continue }
                        body(left, right)
                    }
                }
            }
        }
    }

    /// Whether a block before this one gives the pair already.
    private func meetEarlier(_ left: Int, _ right: Int, than number: Int) -> Bool {
        var one = Int(firstBlock[left])
        var other = Int(firstBlock[right])
        let isOversize = blocks[number].isOversize
        let ends = (Int(firstBlock[left + 1]), Int(firstBlock[right + 1]))
        while one < ends.0 && other < ends.1 {
            let block = blocksOfPeople[one]
            let otherBlock = blocksOfPeople[other]
            if block == otherBlock {
                // From an oversize block only what no ordinary one gives.
                if !isOversize && Int(block) >= number { return false }
                if !blocks[Int(block)].isOversize { return true }
                one += 1
                other += 1
            } else if block < otherBlock {
                one += 1
            } else {
                other += 1
            }
        }
        return false
    }
}

/// The two orders in which neighbours of an oversize block are likely to be the same person.
private struct NeighbourOrder {
    let profiles: PreparedProfiles

    init(_ profiles: PreparedProfiles) { self.profiles = profiles }

    func byName(_ left: UInt32, _ right: UInt32) -> Bool {
        let one = profiles.rows[Int(left)]
        let other = profiles.rows[Int(right)]
        return (one.family, one.given, one.birthDate.number, one.street, left)
            < (other.family, other.given, other.birthDate.number, other.street, right)
    }

    func byDate(_ left: UInt32, _ right: UInt32) -> Bool {
        let one = profiles.rows[Int(left)]
        let other = profiles.rows[Int(right)]
        return (one.birthDate.number, one.postalCode, one.street, one.given, left)
            < (other.birthDate.number, other.postalCode, other.street, other.given, right)
    }
}
