/// Rows as an aligned table for people.
func printTable(_ header: [String], _ rows: [[String]]) {
    let widths = header.indices.map { column in ([header] + rows).map { $0[column].columns }.max() ?? 0 }
    for row in [header] + rows {
        var line = row.enumerated().map { $1 + String(repeating: " ", count: widths[$0] - $1.columns) }
            .joined(separator: "  ")
        while line.last == " " { line.removeLast() }
        print(line)
    }
}

extension String {
    /// How many columns of a terminal it takes: Chinese, Japanese and Korean signs and emoji take two each.
    var columns: Int { reduce(0) { $0 + ($1.isWide ? 2 : 1) } }
}

extension Character {
    /// The wide and full-width blocks of Unicode's annex 11, as far as names are written with them.
    private static let wide: [ClosedRange<UInt32>] = [
        0x1100...0x115F, 0x2E80...0x303E, 0x3041...0xA4CF, 0xAC00...0xD7A3, 0xF900...0xFAFF, 0xFE30...0xFE6F,
        0xFF00...0xFF60, 0xFFE0...0xFFE6, 0x1F300...0x1FAFF, 0x20000...0x3FFFD,
    ]

    fileprivate var isWide: Bool {
        let scalar = unicodeScalars.first!.value
        return Self.wide.contains { $0.contains(scalar) }
    }
}
