import Contacts
import ServiceKit

@main
enum ContactsMain {
    static func main() async { await ServiceCommand(contactsService).main() }
}
