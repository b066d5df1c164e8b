/// Agreement levels of single values. Every function is symmetric, allocates nothing and looks at no more than 64
/// units a side; a missing value (id 0) gives `missing`.
extension ValuePool {
    /// Names: a slip is `close`, several slips or a high Jaro–Winkler similarity `similar`, an initial, a short form
    /// or one of several given names `partial`. Chinese names are so short that one other character of two is no more
    /// than `similar`.
    func nameAgreement(_ left: ID, _ right: ID) -> AgreementLevel {
        if let level = triviallyAgreed(left, right) { return level }
        let letters = letterDifference(left, right)
        return withUnits(left) { one in
            withUnits(right) { other in
                if one[0] >= 0x2e80 || other[0] >= 0x2e80 { return Self.hanAgreement(one, other) }
                let longer = max(one.count, other.count)
                let distance = letters > 4 ? 3 : EditDistance.damerau(one, other, limit: 2)
                if distance == 1 && longer >= 3 { return .close }
                if Self.isPrefix(one, other) || firstWordsAgree(left, right, one, other) { return .partial }
                if distance == 2 && longer >= 8 { return .close }
                if distance == 2 && longer >= 5 { return .similar }
                if !mayResemble(left, right, one.count, other.count) { return .different }
                let similarity = JaroWinkler.similarity(one, other)
                if similarity >= 0.95 { return .close }
                return similarity >= 0.84 ? .similar : .different
            }
        }
    }

    /// Streets and other lines of an address: up to an eighth of the units off is `close`, up to a third `similar`;
    /// `partial` where most of the words of the shorter one occur in the other, in any order.
    func lineAgreement(_ left: ID, _ right: ID) -> AgreementLevel {
        if let level = triviallyAgreed(left, right) { return level }
        let letters = letterDifference(left, right)
        return withUnits(left) { one in
            withUnits(right) { other in
                let longer = max(one.count, other.count)
                let limit = one[0] >= 0x2e80 ? longer / 3 : (longer + 1) / 3
                if letters <= 2 * limit {
                    let distance = EditDistance.damerau(one, other, limit: limit)
                    if distance <= max(1, (longer + 2) / 8) && longer > 2 { return .close }
                    if distance <= limit && longer > 4 { return .similar }
                }
                return wordsAgree(left, right, one, other) ? .partial : .different
            }
        }
    }

    /// Cities: like names, with `partial` for a shared first word ("Frankfurt", "Frankfurt am Main").
    func placeAgreement(_ left: ID, _ right: ID) -> AgreementLevel {
        let level = nameAgreement(left, right)
        return level == .different && isMultiWord(left) && isMultiWord(right) && lineAgreement(left, right) == .partial
            ? .partial : level
    }

    /// Codes such as postcodes and identifiers: one slip is `close`, two `similar`, the same first half `partial`.
    func codeAgreement(_ left: ID, _ right: ID) -> AgreementLevel {
        if let level = triviallyAgreed(left, right) { return level }
        let letters = letterDifference(left, right)
        return withUnits(left) { one in
            withUnits(right) { other in
                let longer = max(one.count, other.count)
                let distance = letters > 4 ? 3 : EditDistance.damerau(one, other, limit: 2)
                if distance == 1 && longer > 1 { return .close }
                if distance == 2 && longer > 3 { return .similar }
                let half = longer / 2
                if half >= 2 && one.count >= half && other.count >= half
                    && one.prefix(half).elementsEqual(other.prefix(half))
                {
                    return .partial
                }
                return .different
            }
        }
    }

    /// E-mail addresses: `close` is one slip (two in a long address), but not in a short number, which tells "jlewis12"
    /// from "jlewis17"; `partial` the same local part elsewhere, unless it is one that every firm has.
    func emailAgreement(_ left: ID, _ right: ID) -> AgreementLevel {
        if let level = triviallyAgreed(left, right) { return level }
        let letters = letterDifference(left, right)
        return withUnits(left) { one in
            withUnits(right) { other in
                let limit = min(one.count, other.count) >= 16 ? 2 : 1
                if letters <= 2 * limit, EditDistance.damerau(one, other, limit: limit) <= limit,
                    min(one.count, other.count) >= 8
                {
                    return EmailParts.areNumberedApart(one, other) ? .different : .close
                }
                let local = EmailParts.local(one)
                let otherLocal = EmailParts.local(other)
                return local.elementsEqual(otherLocal) && EmailParts.isPersonal(local) ? .partial : .different
            }
        }
    }

    /// Whether a name of at least three letters occurs in the local part of an e-mail address.
    func isName(_ name: ID, partOf email: ID) -> Bool {
        withUnits(name) { name in
            withUnits(email) { email in
                let local = EmailParts.local(email)
                guard name.count >= 3, local.count >= name.count else { return false }
                return (0...local.count - name.count).contains { local.dropFirst($0).starts(with: name) }
            }
        }
    }

    /// Phone numbers: one slip is `close`; the same last eight digits (a country or trunk code more) `partial`.
    func phoneAgreement(_ left: ID, _ right: ID) -> AgreementLevel {
        if let level = triviallyAgreed(left, right) { return level }
        return withUnits(left) { one in
            withUnits(right) { other in
                if min(one.count, other.count) >= 8 && one.suffix(8).elementsEqual(other.suffix(8)) { return .partial }
                let isSlip = min(one.count, other.count) >= 7 && EditDistance.damerau(one, other, limit: 1) == 1
                return isSlip ? .close : .different
            }
        }
    }

    private func triviallyAgreed(_ left: ID, _ right: ID) -> AgreementLevel? {
        if left == Self.none || right == Self.none { return .missing }
        return left == right || values[Int(left)].hash == values[Int(right)].hash ? .exact : nil
    }

    /// Half of it is a lower bound of the edit distance.
    private func letterDifference(_ left: ID, _ right: ID) -> Int {
        (values[Int(left)].letters ^ values[Int(right)].letters).nonzeroBitCount
    }

    /// False only where the Jaro–Winkler similarity is under 0.84: that takes m/a + m/b ≥ 1.2 for m units in common of a
    /// and b, and letters that only one side has are not in common.
    private func mayResemble(_ left: ID, _ right: ID, _ leftCount: Int, _ rightCount: Int) -> Bool {
        let one = values[Int(left)].letters
        let other = values[Int(right)].letters
        let leftCommon = leftCount - (one & ~other).nonzeroBitCount
        let rightCommon = rightCount - (other & ~one).nonzeroBitCount
        let common = min(leftCommon, rightCommon)
        return 5 * common * (leftCount + rightCount) >= 6 * leftCount * rightCount
    }

    private func isMultiWord(_ id: ID) -> Bool { values[Int(id)].wordStarts > 1 }

    private static func hanAgreement(
        _ left: UnsafeBufferPointer<UInt16>, _ right: UnsafeBufferPointer<UInt16>
    ) -> AgreementLevel {
        let longer = max(left.count, right.count)
        if longer < 2 || EditDistance.damerau(left, right, limit: 1) > 1 { return .different }
        if longer > 2 { return .close }
        let isTransposed = left.count == 2 && right.count == 2 && left[0] == right[1] && left[1] == right[0]
        return isTransposed ? .close : .similar
    }

    /// An initial, or a short form of at least three letters.
    private static func isPrefix(_ left: UnsafeBufferPointer<UInt16>, _ right: UnsafeBufferPointer<UInt16>) -> Bool {
        let shorter = min(left.count, right.count)
        return (shorter == 1 || shorter >= 3) && left.prefix(shorter).elementsEqual(right.prefix(shorter))
    }

    private func firstWordsAgree(
        _ left: ID, _ right: ID, _ leftUnits: UnsafeBufferPointer<UInt16>, _ rightUnits: UnsafeBufferPointer<UInt16>
    ) -> Bool {
        guard isMultiWord(left) || isMultiWord(right) else { return false }
        let one = firstWord(left, leftUnits)
        let other = firstWord(right, rightUnits)
        return one.count >= 3 && one.elementsEqual(other)
    }

    private func firstWord(_ id: ID, _ units: UnsafeBufferPointer<UInt16>) -> Slice<UnsafeBufferPointer<UInt16>> {
        let later = values[Int(id)].wordStarts & ~1
        return units.prefix(later == 0 ? units.count : later.trailingZeroBitCount)
    }

    /// At least 60 % of the shorter text's units stand in words that the other has too, kinds of street left out.
    private func wordsAgree(
        _ left: ID, _ right: ID, _ leftUnits: UnsafeBufferPointer<UInt16>, _ rightUnits: UnsafeBufferPointer<UInt16>
    ) -> Bool {
        guard isMultiWord(left) || isMultiWord(right) else { return false }
        var shared = 0
        forEachWord(left, leftUnits) { word in
            var isFound = false
            forEachWord(right, rightUnits) { other in
                if !isFound && word.first == other.first && word.elementsEqual(other) { isFound = true }
            }
            if isFound && !StreetKinds.contains(word) { shared += word.count }
        }
        if shared == 0 { return false }
        var (leftTotal, rightTotal) = (0, 0)
        forEachWord(left, leftUnits) { if !StreetKinds.contains($0) { leftTotal += $0.count } }
        forEachWord(right, rightUnits) { if !StreetKinds.contains($0) { rightTotal += $0.count } }
        let shorter = min(leftTotal, rightTotal)
        return shorter >= 4 && shared * 10 >= shorter * 6
    }

    private func forEachWord(
        _ id: ID, _ units: UnsafeBufferPointer<UInt16>, _ body: (Slice<UnsafeBufferPointer<UInt16>>) -> Void
    ) {
        var starts = values[Int(id)].wordStarts
        while starts != 0 {
            let start = starts.trailingZeroBitCount
            starts &= starts - 1
            body(units[start..<(starts == 0 ? units.count : starts.trailingZeroBitCount)])
        }
    }
}

/// Words that say what kind of street it is: they agree between strangers.
private enum StreetKinds {
    private static let hashes: Set<UInt64> = Set(
        [
            "street", "st", "road", "rd", "avenue", "ave", "place", "pl", "crescent", "circuit", "close", "drive", "dr",
            "court", "ct", "way", "lane", "strasse", "str", "weg", "platz", "allee", "gasse", "rue", "boulevard", "bd",
            "chemin", "impasse", "de", "du", "la", "des", "am", "der", "apartment", "apt", "unit", "flat",
        ].map { hash($0.utf16) })

    static func contains(_ word: Slice<UnsafeBufferPointer<UInt16>>) -> Bool {
        word.count <= 9 && hashes.contains(hash(word))
    }

    private static func hash(_ units: some Sequence<UInt16>) -> UInt64 {
        var hash = FNVHash()
        for unit in units { hash.combine(unit) }
        return hash.value
    }
}
