//! Route templates of HTTP functions, as ASP.NET Core reads them: `products/{category:alpha}/{id:int?}`.

use std::cmp::Ordering;

/// A route's template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Segment>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Literal(String),
    Parameter {
        name: String,
        constraints: Vec<Constraint>,
        optional: bool,
        default: Option<String>,
        catch_all: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Constraint {
    Int,
    Long,
    Bool,
    Guid,
    Alpha,
    Length(usize, usize),
    Value(i64, i64),
}

impl Template {
    /// Reads a template without slashes at its ends.
    ///
    /// # Errors
    /// What is wrong with it, as text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut segments = Vec::new();
        for segment in text.split('/').filter(|segment| !segment.is_empty()) {
            if let Some(Segment::Parameter { catch_all: true, .. }) = segments.last() {
                return Err("a catch-all parameter can only be the last segment".into());
            }
            segments.push(Segment::parse(segment)?);
        }
        Ok(Self(segments))
    }

    /// The parameters' values, if the decoded path segments fit. Literals ignore case.
    pub fn matches(&self, path: &[String]) -> Option<Vec<(String, String)>> {
        let mut values = Vec::new();
        let mut rest = path;
        for segment in &self.0 {
            match segment {
                Segment::Literal(text) => {
                    let (first, tail) = rest.split_first()?;
                    if !first.eq_ignore_ascii_case(text) {
                        return None;
                    }
                    rest = tail;
                }
                Segment::Parameter { name, constraints, optional, default, catch_all } => {
                    let value = if *catch_all {
                        let all = rest.join("/");
                        rest = &[];
                        (!all.is_empty()).then_some(all)
                    } else if let Some((first, tail)) = rest.split_first() {
                        rest = tail;
                        Some(first.clone())
                    } else {
                        None
                    };
                    match value.or_else(|| default.clone()) {
                        Some(value) if constraints.iter().all(|constraint| constraint.allows(&value)) => {
                            values.push((name.clone(), value));
                        }
                        Some(_) => return None,
                        None if *optional || *catch_all => {}
                        None => return None,
                    }
                }
            }
        }
        rest.is_empty().then_some(values)
    }

    /// Which of two templates is asked first: literals before constrained parameters before others before catch-alls.
    pub fn precedence(&self, other: &Self) -> Ordering {
        let ranks = |template: &Self| template.0.iter().map(Segment::rank).collect::<Vec<_>>();
        ranks(self).cmp(&ranks(other))
    }
}

impl Segment {
    fn parse(text: &str) -> Result<Self, String> {
        let Some(inner) = text.strip_prefix('{') else {
            return if text.contains(['{', '}']) {
                Err(format!("'{text}' mixes text and a parameter in one segment"))
            } else {
                Ok(Self::Literal(text.into()))
            };
        };
        let inner = inner.strip_suffix('}').ok_or_else(|| format!("'{text}' has no closing brace"))?;
        let (inner, default) = match inner.split_once('=') {
            Some((inner, default)) => (inner, Some(default.to_owned())),
            None => (inner, None),
        };
        let (inner, optional) = inner.strip_suffix('?').map_or((inner, false), |inner| (inner, true));
        let catch_all = inner.starts_with('*');
        let mut parts = inner.trim_start_matches('*').split(':');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() || name.contains(['{', '}', '*', '?']) {
            return Err(format!("'{text}' has no valid parameter name"));
        }
        let constraints = parts.map(Constraint::parse).collect::<Result<_, _>>()?;
        Ok(Self::Parameter { name: name.into(), constraints, optional, default, catch_all })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Literal(_) => 1,
            Self::Parameter { catch_all: false, constraints, .. } => 3 - u8::from(!constraints.is_empty()),
            Self::Parameter { constraints, .. } => 5 - u8::from(!constraints.is_empty()),
        }
    }
}

impl Constraint {
    fn parse(text: &str) -> Result<Self, String> {
        let unknown = || format!("the route constraint '{text}' is not known");
        let Some((name, arguments)) = text.strip_suffix(')').and_then(|text| text.split_once('(')) else {
            return match text.to_ascii_lowercase().as_str() {
                "int" => Ok(Self::Int),
                "long" => Ok(Self::Long),
                "bool" => Ok(Self::Bool),
                "guid" => Ok(Self::Guid),
                "alpha" => Ok(Self::Alpha),
                "required" => Ok(Self::Length(1, usize::MAX)),
                _ => Err(unknown()),
            };
        };
        let numbers: Vec<i64> = arguments
            .split(',')
            .map(|part| part.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_| unknown())?;
        let size = |number: i64| usize::try_from(number).map_err(|_| unknown());
        match (name.to_ascii_lowercase().as_str(), &numbers[..]) {
            ("length", [exact]) => Ok(Self::Length(size(*exact)?, size(*exact)?)),
            ("length", [least, most]) => Ok(Self::Length(size(*least)?, size(*most)?)),
            ("minlength", [least]) => Ok(Self::Length(size(*least)?, usize::MAX)),
            ("maxlength", [most]) => Ok(Self::Length(0, size(*most)?)),
            ("min", [least]) => Ok(Self::Value(*least, i64::MAX)),
            ("max", [most]) => Ok(Self::Value(i64::MIN, *most)),
            ("range", [least, most]) => Ok(Self::Value(*least, *most)),
            _ => Err(unknown()),
        }
    }

    fn allows(self, value: &str) -> bool {
        match self {
            Self::Int => value.parse::<i32>().is_ok(),
            Self::Long => value.parse::<i64>().is_ok(),
            Self::Bool => value.eq_ignore_ascii_case("true") || value.eq_ignore_ascii_case("false"),
            Self::Guid => uuid::Uuid::try_parse(value).is_ok(),
            Self::Alpha => value.bytes().all(|byte| byte.is_ascii_alphabetic()),
            Self::Length(least, most) => (least..=most).contains(&value.chars().count()),
            Self::Value(least, most) => value.parse().is_ok_and(|value: i64| (least..=most).contains(&value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(template: &str, path: &str) -> Option<Vec<(String, String)>> {
        let segments: Vec<String> = path.split('/').filter(|s| !s.is_empty()).map(Into::into).collect();
        Template::parse(template).unwrap().matches(&segments)
    }

    fn pairs(pairs: &[(&str, &str)]) -> Option<Vec<(String, String)>> {
        Some(pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect())
    }

    #[test]
    fn parameters_take_segments_and_constraints_hold() {
        assert_eq!(matched("orders/{id:int}", "Orders/5"), pairs(&[("id", "5")]));
        assert_eq!(matched("orders/{id:int}", "orders/x"), None);
        assert_eq!(matched("orders/{id:int?}", "orders"), pairs(&[]));
        assert_eq!(matched("orders/{id}", "orders"), None);
        assert_eq!(matched("orders/{id=7}", "orders"), pairs(&[("id", "7")]));
        assert_eq!(matched("a/{*rest}", "a/b/c"), pairs(&[("rest", "b/c")]));
        assert_eq!(matched("a/{*rest}", "a"), pairs(&[]));
        assert_eq!(matched("a", "a/b"), None);
        assert_eq!(matched("{x:range(1,5)}", "6"), None);
    }

    #[test]
    fn the_more_specific_template_is_asked_first() {
        let mut templates: Vec<_> = ["{*all}", "{id}", "{id:int}", "status"]
            .iter()
            .map(|text| Template::parse(text).unwrap())
            .collect();
        templates.sort_by(Template::precedence);
        let expected: Vec<_> = ["status", "{id:int}", "{id}", "{*all}"]
            .iter()
            .map(|text| Template::parse(text).unwrap())
            .collect();
        assert_eq!(templates, expected);
    }

    #[test]
    fn broken_templates_are_refused() {
        for text in ["{", "{}", "a{b}", "{*a}/b", "{a:nope}", "{a:length(x)}"] {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
