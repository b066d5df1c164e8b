import Accounts
import ServiceKit

@main
enum AccountsMain {
    static func main() async { await ServiceCommand(accountsService).main() }
}
