//! `#[derive(Module)]` of `rlrun-nn`, which documents it where it re-exports it.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Error, Result};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Field, Fields, LitStr, Member};

/// Lists every field of a struct or of an enum's variants under its name.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let input = syn::parse_macro_input!(input as DeriveInput);
    expand(&input).unwrap_or_else(Error::into_compile_error).into()
}

/// The names that the expansion takes from its surroundings are `Module` alone, which whoever derives
/// it has imported: through which crate, it need not know.
fn expand(input: &DeriveInput) -> Result<TokenStream> {
    if let Some(attribute) = input.attrs.iter().find(|attr| attr.path().is_ident("module")) {
        let message = "`#[module(..)]` stands on fields: `skip`, `flatten` or `rename = \"..\"`";
        return Err(Error::new(attribute.span(), message));
    }
    let arms = match &input.data {
        Data::Struct(data) => vec![arm(&quote!(Self), &data.fields)?],
        Data::Enum(data) => {
            let variants = data.variants.iter();
            let arm = |variant: &syn::Variant| {
                let name = &variant.ident;
                arm(&quote!(Self::#name), &variant.fields)
            };
            variants.map(arm).collect::<Result<_>>()?
        }
        Data::Union(data) => {
            let message = "a union does not know which of its fields it holds: use an enum";
            return Err(Error::new(data.union_token.span, message));
        }
    };
    // A reference to an enum without variants is no empty match by itself.
    let scrutinee = if arms.is_empty() { quote!(*self) } else { quote!(self) };
    let name = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics Module for #name #type_generics #where_clause {
            fn visit_fields(
                &self,
                visit: &mut dyn ::core::ops::FnMut(&::core::primitive::str, &dyn Module),
            ) {
                let _ = &visit;
                match #scrutinee { #(#arms)* }
            }
        }
    })
}

/// `pattern { fields } => { one call for each }`.
fn arm(path: &TokenStream, fields: &Fields) -> Result<TokenStream> {
    let (mut bindings, mut calls) = (Vec::new(), Vec::new());
    let mut names: Vec<String> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let member = field.ident.clone().map_or_else(|| Member::from(index), Member::Named);
        let Some(name) = listed_as(field, &member)? else {
            bindings.push(quote!(#member: _));
            continue;
        };
        if !name.is_empty() && names.contains(&name) {
            let message = format!("two fields are listed as `{name}`: one would hide the other");
            return Err(Error::new(field.span(), message));
        }
        // Located at the type, so that the compiler points at one that is no module.
        let span = Span::call_site().located_at(field.ty.span());
        let binding = Ident::new(&format!("field{index}"), span);
        let literal = Literal::string(&name);
        bindings.push(quote!(#member: #binding));
        calls.push(quote_spanned!(span=> visit(#literal, #binding);));
        names.push(name);
    }
    Ok(quote!(#path { #(#bindings),* } => { #(#calls)* }))
}

/// The name of a field in the list: empty if what it holds is listed as if it were the module's own,
/// `None` if it is plain data.
fn listed_as(field: &Field, member: &Member) -> Result<Option<String>> {
    let mut attributes = field.attrs.iter().filter(|attr| attr.path().is_ident("module"));
    let listed = match (attributes.next(), member) {
        (Some(attribute), _) => asked_for(attribute)?,
        (None, Member::Named(ident)) => Some(ident.to_string().trim_start_matches("r#").to_owned()),
        (None, Member::Unnamed(index)) => Some(index.index.to_string()),
    };
    match attributes.next() {
        Some(second) => Err(Error::new(second.span(), "a field has one `#[module(..)]` at most")),
        None => Ok(listed),
    }
}

/// The same, as an attribute has it.
fn asked_for(attribute: &Attribute) -> Result<Option<String>> {
    const EXPECTED: &str = "expected one of `skip`, `flatten` and `rename = \"..\"`";
    let mut listed = None;
    attribute.parse_nested_meta(|meta| {
        let asked = if meta.path.is_ident("skip") {
            None
        } else if meta.path.is_ident("flatten") {
            Some(String::new())
        } else if meta.path.is_ident("rename") {
            let name: LitStr = meta.value()?.parse()?;
            if name.value().is_empty() {
                return Err(Error::new(name.span(), "an empty name: write `flatten`"));
            }
            Some(name.value())
        } else {
            return Err(meta.error(EXPECTED));
        };
        if listed.replace(asked).is_some() { Err(meta.error(EXPECTED)) } else { Ok(()) }
    })?;
    listed.ok_or_else(|| Error::new(attribute.span(), EXPECTED))
}
