import Records
import Testing

@testable import Opportunities

@Suite("Order totals")
struct OrderTotalsTests {
    private func line(_ quantity: Int, _ price: Int, discount: Int = 0, tax: Int = 0) -> JSONValue {
        [
            "quantity": JSONValue(quantity), "unit_price": JSONValue(price), "discount_percent": JSONValue(discount),
            "tax_percent": JSONValue(tax),
        ]
    }

    @Test("discount first, then tax, each rounded half up to the cent")
    func rounding() {
        #expect(OrderTotals.of(lines: [line(1, 999, discount: 10, tax: 19)]) == (1070, 171))
        #expect(OrderTotals.of(lines: [line(3, 333, tax: 7)]) == (1069, 70))
        #expect(OrderTotals.of(lines: []) == (0, 0))
    }

    @Test("the total is the sum of what the lines show")
    func additive() {
        let lines = [line(1, 1, tax: 50), line(1, 1, tax: 50), line(7, 129, discount: 33, tax: 21)]
        let single = lines.map { OrderTotals.of(lines: [$0]).total }.reduce(0, +)
        #expect(OrderTotals.of(lines: lines).total == single)
    }
}
