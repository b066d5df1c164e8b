import Contracts
import Database
import Foundation
import Jobs
import Records

/// What a customer ordered. Totals are computed in integers, line by line, so that they add up to the cent.
enum Order {
    static let type = RecordType(
        "order", plural: "orders", schema: "opportunities", table: "sales_order", label: Label("Order", "订单"),
        fields: [
            Field("number", .text(max: 60), Label("Number", "订单号")).sortable().searchable().impersonal(),
            Field("contact_id", .foreignID, Label("Contact", "联系人")).of("contact").required().immutable(),
            Field("opportunity_id", .reference("opportunity"), Label("Opportunity", "商机")),
            Field("currency", .currency, Label("Currency", "货币")).immutable(),
            Field("placed_at", .timestamp, Label("Placed", "下单时间")).sortable(),
            Field("is_cancelled", .boolean, Label("Cancelled", "已取消")).byDefault(false),
            Field("lines", .list(line, max: 200), Label("Lines", "明细")).byDefault([]).impersonal(),
            Field("total", .money, Label("Total", "总额")).readOnly().sortable(),
            Field("tax", .money, Label("Tax included", "含税额")).readOnly(),
            Field("paid", .money, Label("Paid", "已付")).derived(),
            Field("status", .choice(["placed", "paid", "cancelled"]), Label("Status", "状态")).derived().byDefault(
                "placed"),
        ] + RecordType.origin,
        rules: RecordRules(prepare: prepare, effects: effects))

    private static let line = [
        Field("product", .text(max: 200), Label("Product", "产品")).required(),
        Field("quantity", .integer(min: 1, max: 100_000), Label("Quantity", "数量")).byDefault(1),
        Field("unit_price", .integer(min: 0, max: 1_000_000_000), Label("Unit price in minor units", "单价")).required(),
        Field("discount_percent", .integer(min: 0, max: 100), Label("Discount in percent", "折扣")).byDefault(0),
        Field("tax_percent", .integer(min: 0, max: 100), Label("Tax in percent", "税率")).byDefault(0),
    ]

    private static func prepare(_ draft: inout Draft) throws {
        let currency = draft["currency"] ?? draft.defaults.currency
        draft["currency"] = currency
        if draft["placed_at"] == nil { draft["placed_at"] = Timestamp.sqlText(draft.now) }
        let (total, tax) = OrderTotals.of(lines: draft.record.json("lines")?.array ?? [])
        guard total <= FieldReader.largestAmount else {
            throw FieldError("/lines", "out_of_range", "The order's total is too large.")
        }
        draft.record.values["total"] = ["\(total)", currency]
        draft.record.values["tax"] = ["\(tax)", currency]
        let paid = draft.record.money("paid")?.amount ?? 0
        draft.record.values["paid"] = ["\(paid)", currency]
        draft["status"] =
            draft.record.bool("is_cancelled") ? "cancelled" : total > 0 && paid >= total ? "paid" : "placed"
    }

    private static func effects(_ change: Change) -> Effects {
        let record = change.after
        let money = record.money("total")
        let state = record.deletedAt != nil ? "deleted" : record.bool("is_cancelled") ? "cancelled" : "placed"
        let at = record.time("placed_at") ?? record.createdAt
        let changed = OrderChanged(facts: [
            Fact(
                id: record.id, version: record.version, contact: record.uuid("contact_id"), at: at, state: state,
                amount: money?.amount, currency: money?.currency)
        ])
        let moment = Moment(
            "order", at: at, title: record.text("number"), amount: money?.amount, currency: money?.currency,
            detail: ["status": record.bool("is_cancelled") ? "cancelled" : "placed"])
        let story = CustomerStory(change, type: type, moments: [moment])
        return Effects(events: [changed] + (CustomerStoriesTold.of(story) as [any Event]))
    }
}

/// The sums of an order's lines.
enum OrderTotals {
    /// Each line: quantity × unit price, less its discount, plus its tax, both rounded half up to the minor unit. The
    /// total is the sum of what the lines show, never a rounding of a sum.
    static func of(lines: [JSONValue]) -> (total: Int, tax: Int) {
        var total = 0
        var tax = 0
        for line in lines {
            let gross = (line["quantity"]?.int ?? 1) * (line["unit_price"]?.int ?? 0)
            let net = gross - percent(line["discount_percent"]?.int ?? 0, of: gross)
            let added = percent(line["tax_percent"]?.int ?? 0, of: net)
            total += net + added
            tax += added
        }
        return (total, tax)
    }

    private static func percent(_ rate: Int, of amount: Int) -> Int { (amount * rate + 50) / 100 }
}
