import Contracts
import Database
import Foundation
import Jobs
import Records

/// Money that came in for an order.
enum Payment {
    static let type = RecordType(
        "payment", plural: "payments", schema: "opportunities", label: Label("Payment", "回款"),
        fields: [
            Field("order_id", .reference("order"), Label("Order", "订单")).required().immutable(),
            Field("amount", .money, Label("Amount", "金额")).required().sortable(),
            Field("received_at", .timestamp, Label("Received", "收款时间")).sortable(),
            Field("method", .choice(["transfer", "card", "cash", "wallet", "other"]), Label("Method", "方式")).byDefault(
                "transfer"),
            Field("reference", .text(max: 200), Label("Reference", "备注")),
            Field("contact_id", .foreignID, Label("Contact", "联系人")).of("contact").readOnly(),
        ] + RecordType.origin,
        rules: RecordRules(
            prepare: { draft in
                if draft["received_at"] == nil { draft["received_at"] = Timestamp.sqlText(draft.now) }
            }, check: check, effects: effects, after: after))

    /// Locks the order, so that payments of one order count one after the other.
    private static func check(_ draft: inout Draft, _ transaction: TenantTransaction) async throws {
        // A change of anything else (its customer, after a merge) is no business of the order's.
        guard draft.isCreation || draft.changes("order_id") || draft.changes("amount") else { return }
        let rows = try await transaction.query(
            """
            select contact_id, currency, is_cancelled from opportunities.sales_order
            where tenant_id = $1 and id = $2 and deleted_at is null for update
            """, [transaction.tenant.parameter, .optional(draft["order_id"])])
        guard rows.count == 1 else {
            throw Problem(
                409, "no_such_record", "The order does not exist.",
                fields: [FieldError("/order_id", "no_such_record", "There is no such order.")])
        }
        guard rows.text(0, 1) == draft.record.money("amount")?.currency else {
            throw Problem(
                409, "other_currency", "The order is in another currency.",
                fields: [
                    FieldError(
                        "/amount/currency", "other_currency",
                        "The order is in \(rows.text(0, 1) ?? "another currency").")
                ])
        }
        draft["contact_id"] = rows.text(0, 0)
    }

    private static func effects(_ change: Change) -> Effects {
        let record = change.after
        let money = record.money("amount")
        let at = record.time("received_at") ?? record.createdAt
        let changed = PaymentChanged(facts: [
            Fact(
                id: record.id, version: record.version, contact: record.uuid("contact_id"), at: at,
                state: record.deletedAt == nil ? "received" : "deleted", amount: money?.amount,
                currency: money?.currency)
        ])
        let moment = Moment(
            "payment", at: at, title: record.text("reference"), amount: money?.amount, currency: money?.currency,
            detail: ["method": record.text("method"), "order_id": record.text("order_id")])
        let story = CustomerStory(change, type: type, moments: [moment])
        return Effects(events: [changed] + (CustomerStoriesTold.of(story) as [any Event]))
    }

    /// The order's paid sum and status follow from its payments; they are figures, not a change of the order.
    private static func after(_ change: Change, _ transaction: TenantTransaction, _ outbox: Outbox) async throws {
        // Deleting and restoring look at nothing before: lock the order, so that the sum sees every payment of it.
        transaction.later(
            Statement(
                "select 1 from opportunities.sales_order where tenant_id = $1 and id = $2 for update",
                [transaction.tenant.parameter, .optional(change.after.text("order_id"))]))
        transaction.later(
            Statement(
                """
                update opportunities.sales_order o
                set paid_amount = p.paid,
                    status = case when o.is_cancelled then 'cancelled'
                        when p.paid >= o.total_amount and o.total_amount > 0 then 'paid' else 'placed' end
                from (select coalesce(sum(amount_amount), 0)::bigint as paid from opportunities.payment
                    where tenant_id = $1 and order_id = $2 and deleted_at is null) p
                where o.tenant_id = $1 and o.id = $2
                """, [transaction.tenant.parameter, .optional(change.after.text("order_id"))]))
    }
}
