//! Every name leads somewhere: parameters, variables, functions, modules with what they take and give.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    bicep::{Declaration, Expression, File, Kind},
    files, infra,
};

/// The functions of Bicep that are used here
/// (<https://learn.microsoft.com/azure/azure-resource-manager/bicep/bicep-functions>).
const FUNCTIONS: [&str; 27] = [
    "concat",
    "contains",
    "empty",
    "environment",
    "guid",
    "join",
    "last",
    "loadJsonContent",
    "loadTextContent",
    "map",
    "min",
    "readEnvironmentVariable",
    "replace",
    "resourceGroup",
    "split",
    "string",
    "subscription",
    "subscriptionResourceId",
    "tenant",
    "toLower",
    "union",
    "uniqueString",
    "allowed",
    "description",
    "maxLength",
    "maxValue",
    "minLength",
];

fn all() -> BTreeMap<String, File> {
    let read = |path: String| (path.clone(), File::read(&infra(), &path));
    files("bicep").into_iter().map(read).collect()
}

/// The names that an expression uses, but for those that it brings along.
fn used(expression: &Expression) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = expression.children().into_iter().flat_map(used).collect();
    match expression {
        Expression::Name(name) => {
            names.insert(name.clone());
        }
        Expression::Scope(own, _, _) => names.retain(|name| !own.contains(name)),
        _ => {}
    }
    names
}

fn used_in(file: &File) -> BTreeSet<String> {
    file.declarations.iter().filter_map(|declaration| declaration.value.as_ref()).flat_map(used).collect()
}

#[test]
fn every_name_is_declared_and_every_parameter_and_variable_is_used() {
    for (path, file) in all() {
        let declared: BTreeSet<String> =
            file.declarations.iter().map(|declaration| declaration.name.clone()).collect();
        let used = used_in(&file);
        let unknown: Vec<_> = used.difference(&declared).collect();
        assert!(unknown.is_empty(), "{path} uses what it does not declare: {unknown:?}");
        for declaration in &file.declarations {
            if matches!(declaration.kind, Kind::Parameter | Kind::Variable) {
                assert!(used.contains(&declaration.name), "{path}: nobody uses {}", declaration.name);
            }
        }
        // An output may bear the name of a parameter; everything else has a name of its own.
        let mut seen = BTreeSet::new();
        for declaration in file.declarations.iter().filter(|found| found.kind != Kind::Output) {
            assert!(seen.insert(&declaration.name), "{path} declares {} twice", declaration.name);
        }
    }
}

#[test]
fn every_function_is_one_of_bicep() {
    for (path, file) in all() {
        for expression in
            file.declarations.iter().filter_map(|found| found.value.as_ref()).flat_map(Expression::all)
        {
            if let Expression::Call(name, _) = expression {
                assert!(FUNCTIONS.contains(&name.as_str()), "{path}: {name}");
            }
        }
    }
}

#[test]
fn every_module_is_there_and_used_and_gets_what_it_takes() {
    let all = all();
    let mut referenced = BTreeSet::from(["main.bicep".to_owned()]);
    for (path, file) in &all {
        for declaration in &file.declarations {
            let Kind::Module(target) = &declaration.kind else { continue };
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let target = format!("{folder}/{target}");
            let target = target.trim_start_matches('/').to_owned();
            let module =
                all.get(&target).unwrap_or_else(|| panic!("{path} refers to {target}, which is not there"));
            assert_gets(path, declaration, module);
            assert_gives(path, file, declaration, module);
            referenced.insert(target);
        }
    }
    assert_eq!(referenced, all.keys().cloned().collect(), "a file that nobody refers to");
}

fn assert_gets(path: &str, call: &Declaration, module: &File) {
    let Some(Expression::Object(given)) = call.value.as_ref().and_then(|value| body(value).at("params"))
    else {
        panic!("{path}: module {} has no params", call.name)
    };
    let given: BTreeSet<&str> = given.iter().map(|(name, _)| name.as_str()).collect();
    let parameters = || module.declarations.iter().filter(|found| found.kind == Kind::Parameter);
    for name in &given {
        assert!(parameters().any(|own| own.name == *name), "{path}: {} takes no {name}", module.path);
    }
    for needed in parameters().filter(|own| own.value.is_none()) {
        assert!(given.contains(needed.name.as_str()), "{path}: {} needs {}", module.path, needed.name);
    }
}

/// Whatever is read of a module is one of its outputs.
fn assert_gives(path: &str, file: &File, call: &Declaration, module: &File) {
    let expressions = file.declarations.iter().filter_map(|found| found.value.as_ref());
    for expression in expressions.flat_map(Expression::all) {
        let Expression::Member(object, output) = expression else { continue };
        let Expression::Member(of, outputs) = &**object else { continue };
        if outputs == "outputs" && **of == Expression::Name(call.name.clone()) {
            let found = module.find(output).is_some_and(|found| found.kind == Kind::Output)
                || module
                    .declarations
                    .iter()
                    .any(|found| found.kind == Kind::Output && found.name == *output);
            assert!(found, "{path}: {} gives no {output}", module.path);
        }
    }
}

/// The object of a loop or a condition, or the expression itself.
pub fn body(expression: &Expression) -> &Expression {
    match expression {
        Expression::Scope(_, _, inner) => body(inner),
        other => other,
    }
}

#[test]
fn parameters_files_set_what_is_needed_and_nothing_else() {
    let main = File::read(&infra(), "main.bicep");
    let paths = files("bicepparam");
    assert_eq!(paths, ["large.bicepparam", "small.bicepparam"]);
    for path in paths {
        let set = File::read(&infra(), &path);
        for assignment in &set.declarations {
            let parameter = main.find(&assignment.name).filter(|found| found.kind == Kind::Parameter);
            assert!(parameter.is_some(), "{path}: main.bicep takes no {}", assignment.name);
        }
        for needed in
            main.declarations.iter().filter(|own| own.kind == Kind::Parameter && own.value.is_none())
        {
            assert!(set.find(&needed.name).is_some(), "{path} does not set {}", needed.name);
        }
        let text = std::fs::read_to_string(infra().join(&path)).unwrap();
        assert!(text.contains("using 'main.bicep'"), "{path}");
    }
}
