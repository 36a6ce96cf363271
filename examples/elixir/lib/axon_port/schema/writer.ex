defmodule AxonPort.Schema.Writer do
  @moduledoc """
  Writes a type as JSON Schema, draft 2020-12.

  Structs stand once each under `$defs` and are referred to, so they may hold each other and themselves. Objects are
  closed, as maps in typespecs are.
  """

  alias AxonPort.Schema.{Field, Type}

  @formats %{Date => "date", Time => "time", DateTime => "date-time", NaiveDateTime => "date-time"}

  @doc """
  The schema of a type.

  Raises `ArgumentError` if it holds a module that has no schema.
  """
  @spec write(Type.t()) :: map
  def write(type) do
    {schema, defs} = root(type)
    if defs == %{}, do: schema, else: Map.put(schema, "$defs", defs)
  end

  # A struct at the root is written out there, since an object has to say at its root that it is one.
  defp root({:annotated, type, annotations}) do
    {schema, defs} = root(type)
    {Map.merge(schema, annotations), defs}
  end

  defp root({:struct, module}) do
    {schema, defs} = definition(module, %{module => :root})
    {schema, named(defs)}
  end

  defp root(type) do
    {schema, defs} = schema(type, %{})
    {schema, named(defs)}
  end

  defp named(defs), do: for({module, %{} = schema} <- defs, into: %{}, do: {inspect(module), schema})

  # Each clause takes and gives the structs met so far: their schema, :root, or :begun while it is being written.
  defp schema({:plain, type}, defs), do: {plain(type), defs}
  defp schema({:calendar, module}, defs), do: {%{"type" => "string", "format" => @formats[module]}, defs}
  defp schema({:enum, values}, defs), do: {%{"enum" => Enum.map(values, &elem(&1, 0))}, defs}
  defp schema({:raw, schema}, defs), do: {schema, defs}
  defp schema({:object, fields}, defs), do: object(fields, defs)

  defp schema({:list, type}, defs) do
    {items, defs} = schema(type, defs)
    {%{"type" => "array", "items" => items}, defs}
  end

  defp schema({:map, type}, defs) do
    {values, defs} = schema(type, defs)
    {%{"type" => "object", "additionalProperties" => values}, defs}
  end

  defp schema({:tuple, types}, defs) do
    {items, defs} = Enum.map_reduce(types, defs, &schema/2)
    {%{"type" => "array", "prefixItems" => items, "items" => false, "minItems" => length(items)}, defs}
  end

  defp schema({:union, types}, defs) do
    {choices, defs} = Enum.map_reduce(types, defs, &schema/2)
    {%{"anyOf" => choices}, defs}
  end

  defp schema({:annotated, type, annotations}, defs) do
    {schema, defs} = schema(type, defs)
    {Map.merge(schema, annotations), defs}
  end

  defp schema({:struct, module}, defs) when is_map_key(defs, module), do: {reference(module, defs), defs}

  defp schema({:struct, module}, defs) do
    {schema, defs} = definition(module, Map.put(defs, module, :begun))
    defs = Map.put(defs, module, schema)
    {reference(module, defs), defs}
  end

  defp reference(module, defs) do
    case defs do
      %{^module => :root} -> %{"$ref" => "#"}
      _other -> %{"$ref" => "#/$defs/#{inspect(module)}"}
    end
  end

  defp definition(module, defs) do
    {schema, defs} = object(AxonPort.Schema.fields(module), defs)

    case AxonPort.Schema.description(module) do
      nil -> {schema, defs}
      text -> {Map.put(schema, "description", text), defs}
    end
  end

  defp object(fields, defs) do
    {properties, defs} = Enum.map_reduce(fields, defs, &property/2)
    required = for %Field{presence: :required, key: key} <- fields, do: key
    object = %{"type" => "object", "properties" => Map.new(properties), "additionalProperties" => false}
    {if(required == [], do: object, else: Map.put(object, "required", required)), defs}
  end

  defp property(%Field{key: key, type: type, presence: presence}, defs) do
    {schema, defs} = schema(type, defs)

    case presence do
      {:default, value} -> {{key, Map.put(schema, "default", AxonPort.Plain.from!(value))}, defs}
      _other -> {{key, schema}, defs}
    end
  end

  defp plain(:any), do: %{}
  defp plain(:map), do: %{"type" => "object"}
  defp plain(:list), do: %{"type" => "array"}
  defp plain(:float), do: %{"type" => "number"}
  defp plain(type), do: %{"type" => Atom.to_string(type)}
end
