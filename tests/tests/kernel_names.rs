//! The names that a scan of the kernel's types looks for ahead of the object, while the
//! compiler makes it, are all that the object needs: else a load would scan twice.

use kfilter_loader::Object;
use kfilter_loader::btf::kernel::Wanted;
use kfilter_loader::link::{reach, want};
use kfilter_tests::run::{shipped, shipped_names};

#[test]
fn the_compiler_knows_every_name_that_its_objects_ask_the_kernel_for() {
    let mut known = Wanted::default();
    kfilter_compiler::kernel_names().for_each(|name| known.add(name));
    for name in shipped_names() {
        let compiled = kfilter_compiler::compile(&name, &shipped(&name)).expect("a filter");
        let object = Object::parse(&compiled.object).expect("our own object");
        for filter in object.filters() {
            let entry = object.functions.iter().position(|one| one.name == filter.bpf.sweep);
            let mut wanted = Wanted::default();
            let reached = reach(&object, entry.expect("a sweep"));
            want(&object, &reached, &mut wanted).expect("types that exist");
            assert!(known.covers(&wanted), "{name}: {wanted:?}");
        }
    }
}
